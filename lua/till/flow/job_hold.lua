-- till/flow/job_hold - the events of a claim that a jobs worker holds: settles them, and makes
-- their leases longer meanwhile.
--
--   job_hold.new(taking [, is_beside]) -> batch    taking = of till.flow.job_claim.take. is_beside:
--                           what of it was not begun after TURN_MS goes back by itself
--   job_hold.keep(batch)    a third of a lease at a time, until job_hold.over
--   job_hold.over(batch)    -> how many were settled; what is left goes back
--   job_hold.count(type, result, n)      of the metrics
--   job_hold.done(batch, event), failed(batch, event, e)
--   job_hold.give_back(batch, todo, reason, is_suspect) -> how many     untried; todo: by their ids
--   job_hold.mark(batch)    tells the database what is done; by itself once in MARK_MS
--   job_hold.may_go_on(batch)            it is ours still, and this generation is served
--   job_hold.is_turn(batch)              the same, and TURN_MS are not over
--
-- Where leases cannot be made longer for so long that somebody else may have taken over, nothing
-- more is begun: so order per aggregate holds.
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local kinds = require "till.flow.kinds"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local outbox = require "till.prim.outbox"
local queue = require "till.store.queue"
local time = require "till.prim.time"

local job_hold = { TURN_MS = 3000, MARK_MS = 1000 }


function job_hold.new(taking, is_beside)
  local now = time.mono_ms()
  local batch = { claim = taking.events[1].claim, slots = taking.slots, todo = {}, done = {},
    served = {}, settled = 0, is_beside = is_beside, begun = now, marked = now,
    lease_ms = conf.get("jobs.lease_ms"), leased_at = taking.leased_at or now }
  for _, event in ipairs(taking.events) do batch.todo[event.id] = event end
  return batch
end


function job_hold.count(event_type, result, n)
  metrics.add("till_events_total", { type = event_type, result = result }, n)
end


local function ids_of(todo)
  local out = {}
  for event_id in pairs(todo) do out[#out + 1] = event_id end
  return out
end


local function settle(batch, event)
  batch.todo[event.id] = nil
  batch.settled = batch.settled + 1
end


function job_hold.done(batch, event)
  settle(batch, event)
  batch.done[#batch.done + 1] = event.id
end


-- A lost answer is no harm: they are delivered once more.
function job_hold.mark(batch)
  local ids = batch.done
  batch.done, batch.marked = {}, time.mono_ms()
  if #ids == 0 then return end
  local ok, e = outbox.done(ids, batch.claim)
  if not ok then log.warn("outbox.done", { events = #ids, error = tostring(e) }) end
end


function job_hold.failed(batch, event, e)
  settle(batch, event)
  job_hold.count(event.type, "failed", 1)
  log.warn("event.failed", { id = event.id, type = event.type, attempts = event.attempts,
    error = tostring(e) })
  local most = kinds.of(event.type).attempts
  local ok, e2 = outbox.retry(event.id, batch.claim, most, tostring(e))
  if not ok then log.warn("outbox.retry", { id = event.id, error = tostring(e2) }) end
  if ok and event.attempts >= most then
    log.error("event.dead", { id = event.id, type = event.type, error = tostring(e) })
  end
end


function job_hold.give_back(batch, todo, reason, is_suspect)
  local ids = ids_of(todo)
  for _, event_id in ipairs(ids) do batch.todo[event_id] = nil end
  if #ids == 0 then return 0 end
  local ok, e = outbox.release(ids, batch.claim, reason, is_suspect)
  if not ok then log.warn("outbox.release", { events = #ids, error = tostring(e) }) end
  return #ids
end


-- ---- leases ---------------------------------------------------------------------------------

local function extend(batch)
  local ids, asked_at = ids_of(batch.todo), time.mono_ms()
  if #ids == 0 then return end
  local ok, e = outbox.extend(ids, batch.claim, batch.lease_ms)
  -- what was settled meanwhile is nobody's loss
  if err.is(e, "conflict") and #ids_of(batch.todo) < #ids then return extend(batch) end
  if ok and batch.slots then ok, e = queue.extend_slots(batch.slots, batch.lease_ms) end
  if ok then
    batch.leased_at = asked_at
  elseif ok == false or err.is(e, "conflict") then
    batch.is_lost = true
  end
  if not ok then
    log.warn("outbox.extend", { events = #ids, error = tostring(e or "slot lost") })
  end
end


local function is_late(batch)
  return time.mono_ms() - batch.begun >= job_hold.TURN_MS
end


-- However long what is under way takes, others may do what waits behind it.
local function give_back_unbegun(batch)
  local rest = {}
  for event_id, event in pairs(batch.todo) do
    if not event.is_begun then rest[event_id] = event end
  end
  job_hold.give_back(batch, rest)
end


-- What is done is marked meanwhile too: however long one event takes, its neighbours are not
-- delivered twice, and what waits for them does not wait for it.
function job_hold.keep(batch)
  if batch.rest then return end
  batch.rest = co.waiter()
  local third = batch.lease_ms / 3
  co.turn_end(function()
    local extended = time.mono_ms()
    while not batch.is_over do
      batch.rest:wait(math.min(third, job_hold.MARK_MS), true)
      if not batch.is_over then job_hold.mark(batch) end
      if not batch.is_over and time.mono_ms() - extended >= third then
        extended = time.mono_ms()
        extend(batch)
      end
      if not batch.is_over and batch.is_beside and is_late(batch) then give_back_unbegun(batch) end
    end
  end)
end


function job_hold.may_go_on(batch)
  if time.mono_ms() - batch.leased_at >= batch.lease_ms * 0.8 then batch.is_lost = true end
  return not batch.is_lost and not co.closing()
end


function job_hold.is_turn(batch)
  return job_hold.may_go_on(batch) and not is_late(batch)
end


function job_hold.over(batch)
  job_hold.mark(batch)
  job_hold.give_back(batch, batch.todo)
  batch.is_over = true
  if batch.rest then batch.rest:signal() end
  return batch.settled
end


return job_hold
