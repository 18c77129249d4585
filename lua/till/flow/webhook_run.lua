-- till/flow/webhook_run - works off the inbox of what providers told (till.flow.webhooks).
--
--   run([on_taken]) -> how many were taken | nil, err    by the jobs workers, whenever they turn
--                      round; on_taken() is called when more are taken while it works
--
-- Events are claimed BATCH at a time. Where there were so many, the next are claimed while the last
-- of them are asked about and written: so neither provider nor database waits for the other.
-- A subject that comes again while it is being worked on waits for the end of that.
local alerts = require "till.store.alerts"
local apply = require "till.flow.webhook_apply"
local co = require "till.prim.co"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local log = require "till.prim.log"
local time = require "till.prim.time"
local webhooks_store = require "till.store.webhooks"

local webhook_run = {}

local BATCH = 200
local AT_ONCE = 64 -- some of them are asked about while the others are written
local LEASE_MS = 120000
local APPLY_MS = 60000 -- after which no further subject is begun

local owed = {} -- claims with rows that nobody is at, and that could not be given back


-- All rows of a subject are one piece of work: the last tells of what kind it is.
local function grouped(rows, claim)
  local out, by = {}, {}
  for _, row in ipairs(rows) do
    local key = row.provider .. " " .. row.subject
    local group = by[key]
    if not group then
      group = { provider = row.provider, subject = row.subject, ids = {}, types = {}, tries = 0,
        key = key, claim = claim }
      by[key] = group
      out[#out + 1] = group
    end
    group.ids[#group.ids + 1] = row.id
    group.types[row.type] = true
    group.event_id, group.tries = row.event_id, math.max(group.tries, row.tries)
    group.is_dropped = group.is_dropped or row.is_dropped
  end
  return out
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


local function owe(claim, untried)
  for _, one in ipairs(owed) do
    if one.claim == claim then return end
  end
  owed[#owed + 1] = { claim = claim, untried = untried }
end


-- Without it they would wait until the lease ends.
local function give_back_owed()
  while owed[1] do
    local ok, e = webhooks_store.free(owed[1].claim, owed[1].untried)
    if not ok then return nil, e end
    table.remove(owed, 1)
  end
  return true
end


local function one(group)
  local good, ok, e = xpcall(apply.run, traced, group, group.claim)
  if good and ok then return end
  if not apply.put_off(group, group.claim, good and e or ok) then owe(group.claim) end
end


local function give_back(groups)
  local ids = {}
  for _, group in ipairs(groups) do
    for _, id in ipairs(group.ids) do ids[#ids + 1] = id end
  end
  if #ids == 0 then return end
  local ok, e = webhooks_store.give_back(ids, groups[1].claim) -- those of a run have one number
  if ok then return end
  for _, group in ipairs(groups) do owe(group.claim) end
  log.warn("webhook.give_back", { events = #ids, error = tostring(e) })
end


-- What is closed when it was open: a question for all, instead of one for each.
local function note_open_alerts(groups)
  local open, e = alerts.open()
  if not open then log.warn("webhook.alerts", { error = tostring(e) }) end
  for _, group in ipairs(groups) do group.open = open or nil end
end


-- Those that nobody has died of may go beside each other.
-- -> how many events were there | nil, err
local function take(run)
  run.is_full = false
  local rows, claim, untaken = webhooks_store.claim(BATCH, LEASE_MS, run.claim)
  if not rows then
    owe(untaken, true)
    return nil, claim
  end
  run.claim, run.taken = claim, run.taken + #rows
  if #rows == 0 then return 0 end
  fault.crash "webhook.after_claim"
  local groups = grouped(rows, claim)
  note_open_alerts(groups)
  for _, group in ipairs(groups) do
    local list = group.is_dropped and run.suspects or run.fine
    list[#list + 1] = group
  end
  run.is_full = #rows == BATCH and not run.suspects[1]
  return #rows
end


local function is_over(run)
  return time.mono_ms() >= run.until_ms or co.closing()
end


local function next_of(run)
  if is_over(run) then return nil end
  for i, group in ipairs(run.fine) do
    if not run.busy[group.key] then return table.remove(run.fine, i) end
  end
end


local start


local function take_more(run)
  if not run.is_full or #run.fine > AT_ONCE or is_over(run) then return end
  local good, n, e = xpcall(take, traced, run)
  if not good or not n then
    log.warn("webhook.claim", { error = tostring(good and e or n) })
  elseif n > 0 then
    if run.on_taken then run.on_taken() end
    start(run)
  end
end


local function go_on(run)
  while true do
    take_more(run)
    local group = next_of(run)
    if not group then break end
    run.busy[group.key] = true
    one(group)
    run.busy[group.key] = nil
  end
  run.at_work = run.at_work - 1
  if run.at_work == 0 then run.waiter:signal(true) end
end


function start(run)
  for _ = 1, math.min(AT_ONCE - run.at_work, #run.fine) do
    run.at_work = run.at_work + 1
    co.turn_end(go_on, run)
  end
end


-- A provider that is slow holds up AT_ONCE of its subjects, not all of them. What was not begun in
-- time, or when this generation ends, goes back.
local function all(run)
  run.waiter = co.waiter()
  start(run)
  if run.at_work > 0 then run.waiter:wait(LEASE_MS, true) end
  local left = run.fine
  run.fine, run.until_ms = {}, 0
  give_back(left)
end


local function has_fewer_tries(a, b)
  return a.tries < b.tries
end


-- One of them may have ended its worker. They go one by one, and the others are back before: so
-- each end is a try of that one alone, and the innocent are soon through.
local function one_of(suspects)
  table.sort(suspects, has_fewer_tries)
  local suspect = table.remove(suspects, 1)
  if not suspect then return end
  give_back(suspects)
  if suspect.tries <= apply.MOST_TRIES then return one(suspect) end
  local ok = apply.put_off(suspect, suspect.claim, err.new("internal",
    "whoever applied it ended, or stood still, each time"))
  if not ok then owe(suspect.claim) end
end


function webhook_run.run(on_taken)
  local ok, e = give_back_owed()
  if not ok then return nil, e end
  local run = { fine = {}, suspects = {}, busy = {}, at_work = 0, taken = 0, on_taken = on_taken,
    until_ms = time.mono_ms() + APPLY_MS }
  local n, e2 = take(run)
  if not n then return nil, e2 end
  all(run)
  one_of(run.suspects)
  return run.taken
end


return webhook_run
