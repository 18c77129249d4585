-- till/cli/jobs - `moontill jobs dead|replay`
local dead = require "till.store.dead"
local json = require "till.prim.json"
local term = require "till.prim.term"
local say = require "till.cli.say"

local HELP = [[
usage: moontill jobs dead [--json]     events that were given up
       moontill jobs replay ID         deliver one of them again
]]


local function refuse(e)
  return say.refused("jobs", e)
end


local function list(args)
  local rows, e = dead.list { limit = 100 }
  if not rows then return refuse(e) end
  rows[101] = nil
  if args[2] == "--json" then
    term.write(json.encode({ data = json.array(rows) }) .. "\n")
    return 0
  end
  for _, row in ipairs(rows) do
    term.write(("%d  %s  %-20s %s  %s\n"):format(row.id, row.created_at, row.type, row.aggregate,
      row.last_error or ""))
  end
  return 0
end


local function replay(args)
  if not tostring(args[2]):find("^%d+$") then
    term.err("jobs: replay needs the number of an event\n" .. HELP)
    return 2
  end
  local done, e = dead.replay(nil, args[2])
  if done == nil then return refuse(e) end
  if not done then return refuse("there is no dead event of that number") end
  return 0
end


local jobs = {}


--- @return the exit code
function jobs.main(...)
  local args = { ... }
  if args[1] == "dead" then return list(args) end
  if args[1] == "replay" then return replay(args) end
  if args[1] == "--help" then
    term.write(HELP)
    return 0
  end
  term.err(("jobs: %sdead or replay?\n"):format(args[1] and args[1] .. ": " or "") .. HELP)
  return 2
end


return jobs
