-- till/rule/rate - percentages and dates as the rules read them.
local exact = require "till.util.exact"

local rate = {}

local HUNDRED = { n = 100, d = 1 }
local MEMO_SIZE = 1000

-- Parsing is pure, so remembering it changes no result; a shop has a few dozen rates. The bound
-- keeps a stream of odd ones from growing the table for ever.
local memo, memo_count = {}, 0


-- "9.975" -> the fraction 0.09975; nil when it is not a decimal >= 0.
function rate.percent(text)
  if text == nil then return nil end
  local known = memo[text]
  if known then return known end
  local value = exact.parse(text)
  if not value then return nil end
  value = exact.over(value, HUNDRED)
  if memo_count >= MEMO_SIZE then memo, memo_count = {}, 0 end
  memo[text] = value
  memo_count = memo_count + 1
  return value
end


-- ISO 8601 UTC in a form that compares as text: no Z, no zeros after the second, and midnight
-- written out where only a day was given.
local function instant(text)
  if #text == 20 then return text:sub(1, 19) end
  text = text:gsub("Z$", "")
  if #text == 10 then return text .. "T00:00:00" end
  -- linear: a time of at most 40 bytes
  return (text:gsub("%.0*$", ""):gsub("(%.%d-)0+$", "%1"))
end


-- Where `date` stands to [from, to): "before", "within" or "after". Rules have no clock; a window
-- without a date to hold against it is a caller's mistake that must not pass for "always".
function rate.place(date, from, to)
  if not from and not to then return "within" end
  if not date then error("given.date is needed: something has a window of time", 0) end
  date = instant(date)
  if from and date < instant(from) then return "before" end
  if to and date >= instant(to) then return "after" end
  return "within"
end


return rate
