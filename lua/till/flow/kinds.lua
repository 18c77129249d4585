-- till/flow/kinds - what each type of event is given of the jobs workers.
--
--   kinds.of(type)  -> { type =, priority =, limit = or nil, attempts = }
--   kinds.read(text, least, most) -> list of { pattern, number }; throws what is wrong with it
--
-- priority: more goes first, 100 by default. What an event waits for within its aggregate should
-- have as much: so all of an order's events have the same.
-- limit: workers, of all machines together, that are at events of this type at a time.
-- attempts: how often one is tried before it goes to the dead letters.
--
-- The server's own are DEFAULTS; jobs.priorities, jobs.limits and jobs.attempts go before them.
-- "order.*" is all that begins with "order."; the longest pattern that fits counts.
local conf = require "till.prim.conf"

local kinds = {}

local DEFAULTS = {
  priorities = "order.*=900 payment.*=900 job.run=80 publish.*=60 product.updated=50",
  limits = "",
  attempts = "job.run=5",
}
local RANGES = { priorities = { 1, 1000 }, limits = { 1, 1000 }, attempts = { 1, 100 } }
local OWN = {
  priorities = function() return conf.get("jobs.priorities") end,
  limits = function() return conf.get("jobs.limits") end,
  attempts = function() return conf.get("jobs.attempts") end,
}

local tables, known = nil, {}


function kinds.read(text, least, most)
  local out = {}
  for word in text:gmatch("%S+") do
    local pattern, number = word:match("^([%l%d_.-]+%*?)=(%d+)$")
    number = tonumber(number)
    if not number then error("it is not written as \"type=number\": " .. word, 0) end
    if number < least or number > most then
      error(("%s: the number is between %d and %d"):format(word, least, most), 0)
    end
    out[#out + 1] = { pattern = pattern, number = number }
  end
  return out
end


local function read_all()
  local out = {}
  for name, default in pairs(DEFAULTS) do
    local range = RANGES[name]
    local good, own = pcall(kinds.read, OWN[name]() or "", range[1], range[2])
    if not good then error(("jobs.%s: %s"):format(name, own), 0) end
    out[name] = { own = own, default = kinds.read(default, range[1], range[2]) }
  end
  return out
end


local function fits(pattern, event_type)
  if pattern:sub(-1) ~= "*" then return pattern == event_type end
  return event_type:sub(1, #pattern - 1) == pattern:sub(1, -2)
end


local function longest(list, event_type)
  local best
  for _, entry in ipairs(list) do
    if fits(entry.pattern, event_type) and (not best or #entry.pattern >= #best.pattern) then
      best = entry
    end
  end
  return best and best.number
end


local function find(name, event_type)
  tables = tables or read_all()
  return longest(tables[name].own, event_type) or longest(tables[name].default, event_type)
end


function kinds.of(event_type)
  local kind = known[event_type]
  if not kind then
    kind = { type = event_type, priority = find("priorities", event_type) or 100,
      limit = find("limits", event_type),
      attempts = find("attempts", event_type) or conf.get("jobs.max_attempts") }
    known[event_type] = kind
  end
  return kind
end


--- Refuses what is wrong with the configuration while a generation loads.
function kinds.check()
  tables, known = read_all(), {}
end


return kinds
