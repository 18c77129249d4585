-- till/flow/jobs - what happens behind the shoppers' backs: events of the outbox, jobs of a
-- schedule, reservations whose time is over, flows that were dropped, what providers told.
--
--   run(worker)   until co.closing(): as long as there is work it goes on, then it sleeps until
--                 Redis wakes it or conf jobs.poll_ms have passed
--
-- Looking, claiming and marking costs nearly as much for one event as for fifty. So the first event
-- of a quiet time is delivered at once, and after a batch that was far from full comes a pause of
-- GATHER_MS, in which the next one gathers.
--
-- What is taken next is till.flow.job_claim's business, delivering it till.flow.job_batch's, and
-- what is done with an event stands in till.flow.job_handlers.
local allotment = require "till.store.allotment"
local backlog = require "till.flow.backlog"
local cancellation_flow = require "till.flow.cancellation_flow"
local checkout = require "till.flow.checkout"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local job_batch = require "till.flow.job_batch"
local job_claim = require "till.flow.job_claim"
local log = require "till.prim.log"
local reconcile = require "till.flow.reconcile"
local redis = require "till.prim.redis"
local reservations = require "till.store.reservations"
local sagas = require "till.store.sagas"
local schedules = require "till.flow.schedules"
local time = require "till.prim.time"
local watch = require "till.flow.watch"
local webhook_run = require "till.flow.webhook_run"

local jobs = {}

local CHANNEL = "till:jobs"
local SWEEP_MS = 1000
local DECLARE_MS = 60000
local TELL_MS = 5000
local BATCH = 100
local EXPIRE_MS = 500
local RESUME_MS = 3000
local GATHER_MS, MANY = 50, 50 -- after fewer events than that
local END_MS = 10000 -- for what is under way when it closes; what is left has its lease

local RESUME = { checkout = checkout.resume, cancellation = cancellation_flow.resume }


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


-- -> how many were settled: where there is none, trying again at once would do no better
local function drain()
  local taking, e = job_claim.take()
  if not taking then
    log.warn("outbox.claim", { error = tostring(e) })
    return 0
  end
  return job_batch.deliver(taking)
end


-- A provider that does not answer is not to hold up all else: the others' turn is the next one.
local function resume_sagas()
  local rows, e = sagas.stuck(20)
  if not rows then return nil, e end
  local begun = time.mono_ms()
  for _, row in ipairs(rows) do
    if time.mono_ms() - begun >= RESUME_MS then break end
    local resume = RESUME[row.name]
    if resume then
      local good, result, why = xpcall(resume, traced, row)
      if not good or not result then
        log.warn("saga.resume", { saga = row.name, aggregate = row.aggregate,
          error = tostring(good and why or result) })
      end
    end
    if co.closing() then return true end
  end
  return true
end


local function wake(state)
  local waiter = state.waiter
  state.is_woken = true
  if not waiter then return end
  state.waiter = nil
  waiter:signal(true)
end


-- Beside the outbox: neither is a provider that is slow to say what is true to hold up captures and
-- mails, nor a job that takes its time what providers told. One run at a time; where it took
-- something, or more was told of meanwhile, there may be more.
local function apply_webhooks(state)
  state.tells_more = true
  if state.applies then return end
  state.applies, state.tells_more = true, false
  co.turn_end(function()
    local good, n, e = xpcall(webhook_run.run, traced, function() wake(state) end)
    state.applies = false
    if not good or not n then
      log.warn("webhook_run.run", { error = tostring(good and e or n) })
    elseif n > 0 then
      wake(state)
    end
    local has_more = good and n and (n > 0 or state.tells_more)
    if has_more and not co.closing() then apply_webhooks(state) end
    if state.ended and not state.applies then state.ended:signal(true) end
  end)
end


local function on_message(state, text)
  if text == "webhooks" then return apply_webhooks(state) end
  wake(state)
end


local function attempt(name, fn, ...)
  local good, ok, e = xpcall(fn, traced, ...)
  if good and ok ~= nil then return end
  log.warn(name, { error = tostring(good and e or ok) })
end


local function sweep(state)
  local now = time.mono_ms()
  if now - state.declared >= DECLARE_MS then
    state.declared = now
    attempt("schedules.declare", schedules.declare)
  end
  if now - state.swept >= SWEEP_MS then
    state.swept = now
    attempt("schedules.tick", schedules.tick)
    attempt("reservations.expire", reservations.expire, BATCH, EXPIRE_MS)
    attempt("allotment.run", allotment.run, BATCH)
    attempt("sagas.resume", resume_sagas)
    attempt("stock.check", reconcile.step)
  end
  if state.tells and now - state.told >= TELL_MS then
    state.told = now
    attempt("backlog.tell", backlog.tell)
    attempt("watch", watch.sweep)
  end
end


function jobs.run(worker)
  local state = { swept = -SWEEP_MS, declared = -DECLARE_MS, told = -TELL_MS,
    tells = worker == "jobs-0", waiter = co.waiter() }
  local handle = redis.subscribe(CHANNEL, function(text) on_message(state, text) end)
  log.info("jobs.ready", { worker = worker })
  while not co.closing() do
    sweep(state)
    state.is_woken = false
    apply_webhooks(state)
    local n = drain()
    if n == 0 and not state.is_woken and not co.closing() then
      state.waiter = co.waiter()
      state.waiter:wait(conf.get("jobs.poll_ms"))
      state.waiter = nil
    elseif n > 0 and n < MANY and not co.closing() then
      time.sleep(GATHER_MS)
    end
  end
  if state.applies then
    state.ended = co.waiter()
    state.ended:wait(END_MS, true)
  end
  if handle then handle:close() end
end


return jobs
