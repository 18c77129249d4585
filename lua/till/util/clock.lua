-- till/util/clock - times as text (RFC 3339) and as milliseconds since 1970, without a clock.
--
--   parse(text)   -> ms | nil     "2026-11-20T10:00:00.123Z", offsets allowed, real dates only
--   format(ms)    -> "2026-11-20T10:00:00.123Z"
--   day(ms)       -> "2026-11-20"
--   date(text)    -> true for a real "YYYY-MM-DD"
--   SECOND MINUTE HOUR DAY in milliseconds
local clock = {}

local floor = math.floor

clock.SECOND = 1000
clock.MINUTE = 60 * 1000
clock.HOUR = 60 * clock.MINUTE
clock.DAY = 24 * clock.HOUR

local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }


local function is_leap(year)
  return year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)
end


local function is_date(year, month, day)
  if month < 1 or month > 12 or day < 1 then return false end
  return day <= (month == 2 and is_leap(year) and 29 or DAYS[month])
end


-- Howard Hinnant's days_from_civil: the year begins in March, so that the leap day is its last.
local function days_from_civil(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = floor(year / 400)
  local of_era = year - era * 400
  local of_year = floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
end


local function civil_from_days(days)
  days = days + 719468
  local era = floor(days / 146097)
  local doe = days - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return year, month, doy - floor((153 * mp + 2) / 5) + 1
end


local function offset_ms(zone)
  if zone == "Z" or zone == "z" then return 0 end
  local sign, hour, minute = zone:match("^([+-])(%d%d):(%d%d)$")
  if not sign or tonumber(hour) > 23 or tonumber(minute) > 59 then return nil end
  local ms = hour * clock.HOUR + minute * clock.MINUTE
  return sign == "-" and -ms or ms
end


local TIME = "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(%.?%d*)([Zz+-].*)$"


function clock.parse(text)
  local y, mo, d, h, mi, s, fraction, zone = text:match(TIME)
  if not y then return nil end
  local offset = offset_ms(zone)
  if not offset or not is_date(tonumber(y), tonumber(mo), tonumber(d)) then return nil end
  if tonumber(h) > 23 or tonumber(mi) > 59 or tonumber(s) > 59 then return nil end
  if fraction ~= "" and not fraction:find("^%.%d+$") then return nil end
  local part = fraction == "" and 0 or floor(tonumber("0" .. fraction) * 1000)
  local days = days_from_civil(tonumber(y), tonumber(mo), tonumber(d))
  return days * clock.DAY + h * clock.HOUR + mi * clock.MINUTE + s * clock.SECOND + part - offset
end


function clock.format(ms)
  local days = floor(ms / clock.DAY)
  local rest = ms - days * clock.DAY
  local y, mo, d = civil_from_days(days)
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ"):format(y, mo, d, floor(rest / clock.HOUR),
    floor(rest / clock.MINUTE) % 60, floor(rest / clock.SECOND) % 60, rest % 1000)
end


function clock.day(ms)
  return clock.format(ms):sub(1, 10)
end


function clock.date(text)
  local y, m, d = text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)$")
  return y ~= nil and is_date(tonumber(y), tonumber(m), tonumber(d))
end


return clock
