-- till/cli/jobs - `moontill jobs`: the outbox by type, its dead letters, jobs of a schedule.
local audit = require "till.store.audit"
local backlog = require "till.store.backlog"
local dead = require "till.store.dead"
local json = require "till.prim.json"
local kinds = require "till.flow.kinds"
local say = require "till.cli.say"
local schedule_store = require "till.store.schedules"
local sql = require "till.prim.sql"
local term = require "till.prim.term"

local HELP = [[
usage: moontill jobs [list] [--json]      what there is to do, by type of event
       moontill jobs dead [--json]        events that were given up
       moontill jobs replay ID            deliver one of them again
       moontill jobs replay --type TYPE   all of a type
       moontill jobs discard ID --reason TEXT
       moontill jobs discard --type TYPE --reason TEXT
                                          let them go; they are kept for a week
       moontill jobs schedules [--json]   jobs that come again and again
]]
local MOST = 1000
local WHO = "command"

local jobs = {}


local function refuse(e)
  return say.refused("jobs", e)
end


local function misuse(sentence)
  term.err("jobs: " .. sentence .. "\n" .. HELP)
  return 2
end


local function write_json(rows)
  term.write(json.encode({ data = json.array(rows) }) .. "\n")
  return 0
end


local commands = {}


function commands.list(opts)
  local outbox, e = backlog.outbox()
  if not outbox then return refuse(e) end
  local rows = {}
  for event_type, numbers in pairs(outbox) do
    numbers.type, numbers.priority = event_type, kinds.of(event_type).priority
    rows[#rows + 1] = numbers
  end
  table.sort(rows, function(a, b) return a.type < b.type end)
  if opts.json then return write_json(rows) end
  term.write(("%-30s %8s %8s %8s %12s\n"):format("type", "pending", "running", "dead", "oldest"))
  for _, row in ipairs(rows) do
    term.write(("%-30s %8d %8d %8d %10d s\n"):format(row.type, row.pending, row.running, row.dead,
      row.oldest_s))
  end
  return 0
end


function commands.dead(opts)
  local rows, e = dead.list { limit = 100, type = opts.type }
  if not rows then return refuse(e) end
  rows[101] = nil
  if opts.json then return write_json(rows) end
  for _, row in ipairs(rows) do
    term.write(("%d  %s  %-20s %s  %s\n"):format(row.id, row.created_at, row.type, row.aggregate,
      row.last_error or ""))
  end
  return 0
end


function commands.schedules(opts)
  local rows, e = schedule_store.list()
  if not rows then return refuse(e) end
  if opts.json then return write_json(rows) end
  for _, row in ipairs(rows) do
    term.write(("%-32s %-20s %-8s next %s  %s\n"):format(row.name, row.schedule,
      row.paused_by and "paused" or row.state, row.next_at, row.last_error or ""))
  end
  return 0
end


-- `change` and its entry in the audit log, both or none. -> how many
local function noted(action, opts, change)
  return sql.transaction(function(tx)
    local n, e = change(tx)
    if not n or n == 0 then return n, e end
    local ok, e2 = audit.add({ actor = WHO, action = action, subject = opts.id
      and "event:" .. opts.id or "type:" .. opts.type, detail = { n = n, reason = opts.reason } },
      tx)
    if not ok then return nil, e2 end
    return n
  end)
end


local function settle(action, opts, one, all)
  if (opts.id == nil) == (opts.type == nil) then
    return misuse(action:match("%l+$") .. " needs the number of an event, or --type TYPE")
  end
  local total = 0
  repeat
    local n, e = noted(action, opts, function(tx)
      if opts.type then return all(tx) end
      local done, e2 = one(tx)
      if done == nil then return nil, e2 end
      return done and 1 or 0
    end)
    if not n then return refuse(e) end
    total = total + n
  until n < MOST
  if opts.id and total == 0 then return refuse("there is no dead event of that number") end
  if opts.type then term.write(("%d events\n"):format(total)) end
  return 0
end


function commands.replay(opts)
  return settle("jobs.replay", opts, function(tx) return dead.replay(tx, opts.id) end,
    function(tx) return dead.replay_all(tx, opts.type, MOST) end)
end


function commands.discard(opts)
  if not opts.reason or opts.reason == "" or #opts.reason > 255 then
    return misuse("discard needs --reason, of at most 255 bytes")
  end
  return settle("jobs.discard", opts,
    function(tx) return dead.discard(tx, opts.id, WHO, opts.reason) end,
    function(tx) return dead.discard_all(tx, opts.type, WHO, opts.reason, MOST) end)
end


-- -> { json =, type =, reason =, id = } | nil, sentence
local function read(args)
  local opts, i = {}, 2
  while args[i] do
    local word = args[i]
    local name = word:match("^%-%-(%l+)$")
    if name == "json" then
      opts.json = true
    elseif name == "type" or name == "reason" then
      i = i + 1
      if not args[i] then return nil, word .. " needs a value" end
      opts[name] = args[i]
    elseif word:find("^%d+$") and not opts.id then
      opts.id = word
    else
      return nil, word .. ": what is that?"
    end
    i = i + 1
  end
  return opts
end


--- @return the exit code
function jobs.main(...)
  local args = { ... }
  if args[1] == "--help" then
    term.write(HELP)
    return 0
  end
  if args[1] == nil or args[1] == "--json" then table.insert(args, 1, "list") end
  local command = commands[args[1]]
  if not command then
    return misuse(args[1] .. ": list, dead, replay, discard or schedules?")
  end
  local opts, why = read(args)
  if not opts then return misuse(why) end
  return command(opts)
end


return jobs
