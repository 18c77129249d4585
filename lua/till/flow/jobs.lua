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
-- Runs of schedules, and jobs that plugins put off, may take a minute each. They are done beside
-- all else, of BESIDE claims at a time one each: neither captures nor holds that end wait for them.
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
local BESIDE = 2
local GATHER_MS, MANY = 50, 50 -- after fewer events than that
local END_MS = 10000 -- for what is under way when it closes; what is left has its lease

local RESUME = { checkout = checkout.resume, cancellation = cancellation_flow.resume }


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
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


-- jobs.run waits for what is beside it.
local function end_one(state)
  if state.ended then state.ended:signal(true) end
end


-- -> what was taken | nil
local function take(part)
  local taking, e = job_claim.take(part)
  if not taking then log.warn("outbox.claim", { part = part, error = tostring(e) }) end
  return taking
end


local function has_suspects(taking)
  for _, event in ipairs(taking.events) do
    if event.is_taken_over then return true end
  end
  return false
end


local function deliver_beside(state, taking)
  state.beside = state.beside + 1
  co.turn_end(function()
    local good, n = xpcall(job_batch.deliver, traced, taking, true)
    state.beside = state.beside - 1
    if not good then log.error("jobs.beside", { error = tostring(n) }) end
    if good and n > 0 then wake(state) end -- there may be more
    end_one(state)
  end)
end


-- What may have ended its worker is delivered here and alone. -> how many were settled
local function drain_beside(state)
  local taking = state.beside < BESIDE and take "beside"
  if not taking then return 0 end
  if #taking.events > 0 and not has_suspects(taking) then
    deliver_beside(state, taking)
  elseif #taking.events > 0 or taking.slots then
    return job_batch.deliver(taking)
  end
  return 0
end


-- -> how many were settled: where there is none, trying again at once would do no better
local function drain(state)
  local n = drain_beside(state)
  local taking = not co.closing() and take "main"
  return n + (taking and job_batch.deliver(taking) or 0)
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
    end_one(state)
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


local function wait_for_others(state)
  local until_ms = time.mono_ms() + END_MS
  state.ended = co.waiter()
  while state.applies or state.beside > 0 do
    local left = until_ms - time.mono_ms()
    if left <= 0 or not state.ended:wait(left, true) then return end
  end
end


function jobs.run(worker)
  local state = { swept = -SWEEP_MS, declared = -DECLARE_MS, told = -TELL_MS,
    tells = worker == "jobs-0", waiter = co.waiter(), beside = 0 }
  local handle = redis.subscribe(CHANNEL, function(text) on_message(state, text) end)
  log.info("jobs.ready", { worker = worker })
  while not co.closing() do
    sweep(state)
    state.is_woken = false
    apply_webhooks(state)
    local n = drain(state)
    if n == 0 and not state.is_woken and not co.closing() then
      state.waiter = co.waiter()
      state.waiter:wait(conf.get("jobs.poll_ms"))
      state.waiter = nil
    elseif n > 0 and n < MANY and not co.closing() then
      time.sleep(GATHER_MS)
    end
  end
  wait_for_others(state)
  if handle then handle:close() end
end


return jobs
