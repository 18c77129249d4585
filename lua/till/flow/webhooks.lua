-- till/flow/webhooks - what providers tell, from the inbox into the books.
--
--   receive(plugin, request) -> HTTP status | nil, err    verified, and committed before 200
--   run() -> how many were taken    by the jobs workers, whenever they turn round
--   replay(tx, id, by) -> row | nil, err(not_found)
--
-- An event says that something has happened, never what: the plugin (webhook.apply) asks its
-- provider how the subject stands now, and till.flow.webhook_apply compares that with what is
-- booked. So events may come in any order, twice, early, late, or for the second time after years:
-- where nothing is new nothing is booked. All that are due for one subject are one question.
--
--   dies before the row is committed   the provider was told nothing, and sends it again
--   the database cannot be written     what was claimed is given back as soon as it can
--   dies while it is applied           its lease ends, and somebody else asks and compares again,
--                                      alone: it may be what ended its worker
--   the provider cannot be asked       later, after 2, 4, 8 … s; after MOST_TRIES `failed`, and an
--                                      alert: staff have it replayed
--   it does not fit our books          `parked` with the reason, and an alert; nothing is applied
local alerts = require "till.store.alerts"
local apply = require "till.flow.webhook_apply"
local audit = require "till.store.audit"
local co = require "till.prim.co"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local redis = require "till.prim.redis"
local time = require "till.prim.time"
local webhooks_store = require "till.store.webhooks"

local webhooks = {}

local BATCH = 200
local AT_ONCE = 32 -- half of them are asked about while the others are written
local LEASE_MS = 120000
local MOST_BODY = 1048576
local APPLY_MS = 60000 -- after which no further subject is begun
local CHANNEL = "till:jobs" -- of till.flow.jobs
local WAKE_MS = 50

local woken_ms = 0
local owed = {} -- claims with rows that nobody is at, and that could not be given back


local function count(provider, result)
  metrics.add("till_webhooks_received_total", { provider = provider, result = result }, 1)
end


local function refuse(plugin, answer)
  count(plugin, answer.reason or "refused")
  log.warn("webhook.refused", { provider = plugin, reason = answer.reason or "refused" })
  return answer.status
end


-- Nobody is told twice in a moment; who misses it looks by himself before long.
local function wake()
  local now_ms = time.mono_ms()
  if now_ms - woken_ms < WAKE_MS then return end
  woken_ms = now_ms
  co.spawn(function()
    time.sleep(WAKE_MS) -- whoever comes meanwhile is taken with it
    redis.publish(CHANNEL, "webhooks")
  end)
end


function webhooks.receive(plugin, request)
  if #request.body > MOST_BODY then
    return refuse(plugin, { status = 413, reason = "too_large" })
  end
  local answer, e = dispatch.plugin(plugin, "webhook.receive", request)
  if not answer then return nil, e end
  if answer.status < 200 or answer.status > 299 then return refuse(plugin, answer) end
  if not answer.event then return answer.status end -- it has seen to it by itself
  local is_new, e2 = webhooks_store.receive(plugin, answer.event)
  if is_new == nil then return nil, e2 end
  count(plugin, not is_new and "duplicate" or answer.event.is_ignored and "ignored" or "accepted")
  if is_new and not answer.event.is_ignored then wake() end
  return answer.status
end


-- All rows of a subject are one piece of work: the last tells of what kind it is.
local function grouped(rows)
  local out, by = {}, {}
  for _, row in ipairs(rows) do
    local key = row.provider .. " " .. row.subject
    local group = by[key]
    if not group then
      group = { provider = row.provider, subject = row.subject, ids = {}, types = {}, tries = 0 }
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


local function one(group, claim)
  group.is_begun = true
  local good, ok, e = xpcall(apply.run, traced, group, claim)
  if good and ok then return end
  if not apply.put_off(group, claim, good and e or ok) then owe(claim) end
end


local function give_back(groups, claim)
  local ids = {}
  for _, group in ipairs(groups) do
    for _, id in ipairs(not group.is_begun and group.ids or {}) do ids[#ids + 1] = id end
  end
  if #ids == 0 then return end
  local ok, e = webhooks_store.give_back(ids, claim)
  if ok then return end
  owe(claim)
  log.warn("webhook.give_back", { events = #ids, error = tostring(e) })
end


-- A provider that is slow holds up AT_ONCE of its subjects, not all of them. What was not begun in
-- time, or when this generation ends, goes back.
local function all(groups, claim)
  local left, next_at, waiter = math.min(AT_ONCE, #groups), 0, co.waiter()
  local until_ms = time.mono_ms() + APPLY_MS
  for _ = 1, left do
    co.turn_end(function()
      while next_at < #groups and time.mono_ms() < until_ms and not co.closing() do
        next_at = next_at + 1
        one(groups[next_at], claim)
      end
      left = left - 1
      if left == 0 then waiter:signal(true) end
    end)
  end
  if left > 0 then waiter:wait(LEASE_MS, true) end
  give_back(groups, claim)
end


local function has_fewer_tries(a, b)
  return a.tries < b.tries
end


-- -> those that nobody has died of, those that somebody may have died of
local function sorted(groups)
  local fine, suspects = {}, {}
  for _, group in ipairs(groups) do
    local list = group.is_dropped and suspects or fine
    list[#list + 1] = group
  end
  table.sort(suspects, has_fewer_tries)
  return fine, suspects
end


-- One of them may have ended its worker. They go one by one, and the others are back before: so
-- each end is a try of that one alone, and the innocent are soon through.
local function one_of(suspects, claim)
  local suspect = table.remove(suspects, 1)
  if not suspect then return end
  give_back(suspects, claim)
  if suspect.tries <= apply.MOST_TRIES then return one(suspect, claim) end
  local ok = apply.put_off(suspect, claim, err.new("internal",
    "whoever applied it ended, or stood still, each time"))
  if not ok then owe(claim) end
end


-- What is closed when it was open: a question for all, instead of one for each.
local function note_open_alerts(groups)
  local open, e = alerts.open()
  if not open then log.warn("webhook.alerts", { error = tostring(e) }) end
  for _, group in ipairs(groups) do group.open = open or nil end
end


function webhooks.run()
  local ok, e = give_back_owed()
  if not ok then return nil, e end
  local rows, claim, untaken = webhooks_store.claim(BATCH, LEASE_MS)
  if not rows then
    owe(untaken, true)
    return nil, claim
  end
  if #rows == 0 then return 0 end
  fault.crash "webhook.after_claim"
  local groups = grouped(rows)
  note_open_alerts(groups)
  local fine, suspects = sorted(groups)
  if fine[1] then all(fine, claim) end
  one_of(suspects, claim)
  return #rows
end


function webhooks.replay(tx, event_id, by)
  local row, e = webhooks_store.get(event_id, tx)
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no such webhook event") end
  local ok, e2 = webhooks_store.replay(tx, event_id)
  if ok then
    ok, e2 = audit.add({ actor = by.actor, action = "webhook.replay",
      subject = "webhook:" .. event_id, request_id = by.request_id, detail = { state = row.state,
        reason = by.reason } }, tx)
  end
  if not ok then return nil, e2 end
  return webhooks_store.get(event_id, tx)
end


return webhooks
