-- till/cli/sagas - `moontill sagas`: flows of several steps that do not end by themselves, and what
-- staff do with them. The same functions as the admin API's, with the same audit.
local json = require "till.prim.json"
local parked = require "till.flow.parked"
local saga_flow = require "till.flow.saga"
local sagas = require "till.store.sagas"
local say = require "till.cli.say"
local sql = require "till.prim.sql"
local term = require "till.prim.term"

-- Their steps are known by name once these are loaded.
require "till.flow.checkout"
require "till.flow.cancellation_flow"

local HELP = [[
usage: moontill sagas [list] [--json]     flows that are parked, or have waited, with their reasons
       moontill sagas retry ID --reason TEXT
                                          go on with a parked one, its attempts counted anew
       moontill sagas resolve ID --reason TEXT [--as done|undone] [--order ID]
                                 [--payment ID=not_found|voided]…
                                          end a parked one by hand; docs/orders.md says what may be
       --author NAME                      who does it, for audit and timeline
]]
local MOST = 200
local OPTIONS = { reason = 255, author = 50, as = 6, order = 40, payment = 60 }

local cli = {}


local function misuse(sentence)
  return say.misused("sagas", sentence, HELP)
end


local function refuse(e)
  return say.refused("sagas", e)
end


local function step_of(row)
  local flow = saga_flow.named(row.name)
  local step = flow and (flow.steps[row.step + 1] or flow.steps[row.step])
  return step and step.name or tostring(row.step)
end


local function shown(row)
  return { id = row.id, name = row.name, aggregate = row.aggregate, state = row.state,
    step = step_of(row), tries = row.tries, error = row.error, data = parked.data_of(row),
    stuck_since = row.stuck_since, next_at = row.next_at, parked_at = row.parked_at }
end


local commands = {}


function commands.list(opts)
  local rows, e = sagas.unfinished(MOST)
  if not rows then return refuse(e) end
  for i, row in ipairs(rows) do rows[i] = shown(row) end
  if opts.json then
    term.write(json.encode({ data = json.array(rows) }) .. "\n")
    return 0
  end
  for _, row in ipairs(rows) do
    term.write(("%d  %-8s %-12s %-10s since %s  %s\n    %s\n"):format(row.id, row.state, row.name,
      row.step, row.parked_at or row.stuck_since or "-", row.aggregate, row.error or "no word"))
  end
  if #rows == 0 then term.write("no flow waits or is parked\n") end
  return 0
end


local function by_of(opts)
  return { actor = opts.author and "command:" .. opts.author or "command", reason = opts.reason }
end


local function told(row, e)
  if not row then return refuse(e) end
  term.write(("%d  %s\n"):format(row.id, row.name))
  return 0
end


function commands.retry(opts)
  return told(sql.transaction(function(tx) return parked.retry(tx, opts.id, by_of(opts)) end))
end


-- A cancellation is never undone, so nobody has to say it.
local function way_of(opts)
  if opts.as then return opts.as end
  local row, e = sagas.get(opts.id)
  if row == nil then return nil, e end
  if row and row.name == "checkout" then
    return nil, "a checkout ends --as done (with --order) or --as undone; which?"
  end
  return "done"
end


function commands.resolve(opts)
  local way, why = way_of(opts)
  if not way then return refuse(why) end
  local wish = { as = way, order_id = opts.order, payments = opts.payments }
  local ok, e = parked.look_up(opts.id, true)
  if not ok then return refuse(e) end
  return told(sql.transaction(function(tx)
    return parked.resolve(tx, opts.id, wish, by_of(opts))
  end))
end


local function take_payment(opts, text)
  local id, outcome = text:match("^(pay_%w+)=(.*)$")
  if not id or outcome ~= "not_found" and outcome ~= "voided" then
    return "--payment: give ID=not_found or ID=voided"
  end
  opts.payments[#opts.payments + 1] = { id = id, outcome = outcome }
end


-- -> what is wrong with it | nil
local function take(opts, name, value)
  local most = OPTIONS[name]
  if not most then return "there is no option --" .. name end
  if not value or value == "" then return "--" .. name .. " needs a value" end
  if #value > most then return ("--%s: at most %d bytes"):format(name, most) end
  if name == "payment" then return take_payment(opts, value) end
  if name == "as" and value ~= "done" and value ~= "undone" then return "--as: done or undone?" end
  opts[name] = value
end


-- -> options | nil, sentence
local function read(args)
  local opts, i = { payments = {} }, 2
  while args[i] do
    local word, wrong = args[i], nil
    local name = word:match("^%-%-(.+)$")
    if name == "json" then
      opts.json = true
    elseif name then
      i = i + 1
      wrong = take(opts, name, args[i])
    elseif word:find("^%d+$") and #word <= 15 and not opts.id then
      opts.id = tonumber(word)
    else
      wrong = word .. ": what is that?"
    end
    if wrong then return nil, wrong end
    i = i + 1
  end
  return opts
end


--- @return the exit code
function cli.main(...)
  local args = { ... }
  if args[1] == "--help" then
    term.write(HELP)
    return 0
  end
  if args[1] == nil or args[1]:find "^%-" then table.insert(args, 1, "list") end
  local command = commands[args[1]]
  if not command then return misuse(args[1] .. ": list, retry or resolve?") end
  local opts, why = read(args)
  if not opts then return misuse(why) end
  if args[1] ~= "list" and not (opts.id and opts.reason) then
    return misuse(args[1] .. " needs the number of a flow, and --reason")
  end
  return command(opts)
end


return cli
