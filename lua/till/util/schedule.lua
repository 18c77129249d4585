-- till/util/schedule - when something that comes again and again is due. All in UTC.
--
--   schedule.parse(text)          -> spec | nil, sentence
--     "every 15 minutes", "every minute", "every 6 hours", "every day"   at whole multiples of it
--     "10 3 * * 1-5"              as in cron: minute hour day month weekday (0 and 7 are Sunday);
--                                 each a star, a number, a range, a list, with /step. Where day and
--                                 weekday are both given, one of them must fit
--   schedule.next(spec, after_ms) -> ms: the first time after it
local clock = require "till.util.clock"

local schedule = {}

local UNITS = { minute = clock.MINUTE, hour = clock.HOUR, day = clock.DAY }
local MOST_MS = 366 * clock.DAY
local FIELDS = { { "minute", 0, 59 }, { "hour", 0, 23 }, { "day", 1, 31 }, { "month", 1, 12 },
  { "weekday", 0, 7 } }
local MOST_DAYS = 8 * 366 + 1 -- the 29th of February is at most eight years away


local function every(text)
  local n, unit = text:match("^every (%d*) ?(%l+)$")
  if not unit then return nil end
  unit = UNITS[unit] or UNITS[unit:match("^(%l+)s$") or ""]
  n = n == "" and 1 or tonumber(n)
  if not unit or n < 1 or n * unit > MOST_MS then return nil end
  return { step_ms = n * unit }
end


local function add_part(set, part, least, most)
  -- linear: of a plugin's manifest, or its configuration
  local range, step = part:match("^([%d*-]+)/?(%d*)$")
  if not range or part:sub(-1) == "/" then return false end
  step = step == "" and 1 or tonumber(step)
  local first, last = range:match("^(%d+)-(%d+)$")
  first, last = tonumber(first), tonumber(last)
  if range == "*" then
    first, last = least, most
  elseif not first then
    first = tonumber(range)
    last = part:find("/", 1, true) and most or first
  end
  if not first or first < least or last > most or first > last or step < 1 then return false end
  for value = first, last, step do set[value] = true end
  return true
end


local function field_of(text, name, least, most)
  local set = { any = text:sub(1, 1) == "*" }
  -- linear: the text ends with a comma
  for part in (text .. ","):gmatch("([^,]*),") do
    if not add_part(set, part, least, most) then
      return nil, ("%s: %s is none of %d to %d"):format(text, name, least, most)
    end
  end
  return set
end


local function cron(words)
  local spec = {}
  for i, field in ipairs(FIELDS) do
    local why
    spec[field[1]], why = field_of(words[i], unpack(field))
    if why then return nil, why end
  end
  if spec.weekday[7] then spec.weekday[0] = true end
  return spec
end


local function day_fits(spec, ms)
  local month, day = clock.day(ms):match("^%d+-(%d+)-(%d+)$")
  if not spec.month[tonumber(month)] then return false end
  local by_day = spec.day[tonumber(day)] == true
  local weekday = (math.floor(ms / clock.DAY) + 4) % 7 -- 1970 began on a Thursday
  local by_weekday = spec.weekday[weekday] == true
  if spec.day.any or spec.weekday.any then return by_day and by_weekday end
  return by_day or by_weekday
end


local function in_day(spec, first_ms, day_ms)
  for hour = 0, 23 do
    for minute = 0, spec.hour[hour] and 59 or -1 do
      local ms = day_ms + hour * clock.HOUR + minute * clock.MINUTE
      if spec.minute[minute] and ms >= first_ms then return ms end
    end
  end
end


local function next_of_cron(spec, after_ms)
  local first_ms = (math.floor(after_ms / clock.MINUTE) + 1) * clock.MINUTE
  local day_ms = math.floor(first_ms / clock.DAY) * clock.DAY
  for _ = 1, MOST_DAYS do
    local found = day_fits(spec, day_ms) and in_day(spec, first_ms, day_ms)
    if found then return found end
    day_ms = day_ms + clock.DAY
  end
end


function schedule.next(spec, after_ms)
  if not spec.step_ms then return next_of_cron(spec, after_ms) end
  return (math.floor(after_ms / spec.step_ms) + 1) * spec.step_ms
end


function schedule.parse(text)
  local steps = every(text)
  if steps then return steps end
  local words = {}
  for word in text:gmatch("%S+") do words[#words + 1] = word end
  if #words ~= 5 then
    return nil, text .. ": write \"every 15 minutes\", or five fields as in cron"
  end
  local spec, why = cron(words)
  if not spec then return nil, why end
  if not next_of_cron(spec, 0) then return nil, text .. ": that day never comes" end
  return spec
end


return schedule
