-- till/flow/jobs - what happens behind the shoppers' backs: events of the outbox, reservations
-- whose time is over, flows that were dropped, and cleaning up.
--
--   run(worker)   until co.closing(): as long as there is work it goes on, then it sleeps until
--                 Redis wakes it or conf jobs.poll_ms have passed
--
-- An event is delivered at least once: to what the server does itself (HANDLERS, TOGETHER), then to
-- the plugins' hooks. What fails comes again later, and ends with the dead letters. Of one claim
-- all that no plugin asks for, and that the server does with one statement for many, is done first
-- and marked as done together; the others follow one by one.
local backlog = require "till.flow.backlog"
local cache = require "till.cache"
local catalog = require "till.flow.catalog"
local checkout = require "till.flow.checkout"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local dead = require "till.store.dead"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local generation_purge = require "till.store.generation_purge"
local HOOKS = require "till.plugin.hooks"
local json = require "till.prim.json"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local redis = require "till.prim.redis"
local sagas = require "till.store.sagas"
local search = require "till.flow.search"
local search_store = require "till.store.search"
local sessions = require "till.store.sessions"
local sql = require "till.prim.sql"
local stock = require "till.store.stock"
local time = require "till.prim.time"

local jobs = {}

local CHANNEL = "till:jobs"
local SWEEP_MS = 1000
local PURGE_MS = 60000
local FIRST_PURGE_MS = 10000 -- not while a new generation is just beginning
local TELL_MS = 5000
local MARK_MS = 1000
local BATCH = 100

local RESUME = { checkout = checkout.resume }


-- A refusal of the provider is final: staff see it in the order's timeline.
local function capture(payload)
  local done, e = order_flow.capture(payload.payment_id, "system")
  if done then return true end
  if not err.is(e, "payment_declined") and not err.is(e, "conflict") then return nil, e end
  log.warn("capture.refused", { payment_id = payload.payment_id, error = tostring(e) })
  return sql.transaction(function(tx)
    return orders.event(tx, payload.order_id, "capture_refused", "system",
      { payment_id = payload.payment_id, reason = e.message })
  end)
end


local function product_updated(payload)
  cache.invalidate("product", { payload.product_id })
  local done, e = search.index({ payload.product_id })
  if done then catalog.forget_found() end
  return done, e
end


local function orders_placed(payloads)
  local ids = {}
  for i, payload in ipairs(payloads) do ids[i] = payload.order_id or "" end
  return search_store.bought(ids)
end


local TOGETHER = { ["order.placed"] = orders_placed }
local HANDLERS = { ["payment.capture"] = capture, ["product.updated"] = product_updated,
  ["order.placed"] = function(payload) return orders_placed { payload } end }


local function is_asked_for(event)
  return HOOKS[event.type] ~= nil and dispatch.has(event.type)
end


local function ask_plugins(event, payload)
  if not is_asked_for(event) then return true end
  local subject = payload
  if payload.order_id then
    local order, e = orders.get(payload.order_id)
    if not order then return nil, e or err.new("not_found", "the order of the event is gone") end
    subject = order
  end
  local answers, e2 = dispatch.ask(event.type, subject)
  if not answers and e2 then return nil, e2 end
  return true
end


local function work(event)
  local payload, e = json.decode(event.payload)
  if not payload then return nil, e end
  local handler = HANDLERS[event.type]
  if handler then
    local ok, e2 = handler(payload)
    if not ok then return nil, e2 end
  end
  return ask_plugins(event, payload)
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


local function count(event, result, n)
  metrics.add("till_events_total", { type = event.type, result = result }, n)
end


-- -> true | nil: it comes again
local function deliver_one(event)
  local good, ok, e = xpcall(work, traced, event)
  if not good then ok, e = nil, ok end
  count(event, ok and "done" or "failed", 1)
  if ok then return true end
  log.warn("event.failed", { id = event.id, type = event.type, attempts = event.attempts,
    error = tostring(e) })
  outbox.retry(event.id, event.claim, conf.get("jobs.max_attempts"), tostring(e))
end


-- A lost answer is no harm: they are delivered once more.
local function mark_done(ids, claim)
  if #ids == 0 then return end
  local ok, e = outbox.done(ids, claim)
  if not ok then log.warn("outbox.done", { events = #ids, error = tostring(e) }) end
end


local function is_simple(event)
  return not is_asked_for(event) and (TOGETHER[event.type] or not HANDLERS[event.type])
end


local function handle_together(events)
  local fn, payloads = TOGETHER[events[1].type], {}
  if fn then
    for i, event in ipairs(events) do payloads[i] = json.decode(event.payload) or {} end
    local good, ok = xpcall(fn, traced, payloads)
    if not good or not ok then return false end
  end
  count(events[1], "done", #events)
  return true
end


-- -> ids of what is done, the events that are left
local function split(events)
  local done, left, by_type = {}, {}, {}
  for _, event in ipairs(events) do
    local list = is_simple(event) and (by_type[event.type] or {}) or left
    list[#list + 1] = event
    if list ~= left then by_type[event.type] = list end
  end
  for _, list in pairs(by_type) do
    local ok = handle_together(list)
    for _, event in ipairs(list) do
      if ok then done[#done + 1] = event.id else left[#left + 1] = event end
    end
  end
  return done, left
end


--- Events of one claim. What is done is marked once a second: nobody's lease ends meanwhile.
function jobs.deliver(events)
  if #events == 0 then return end
  local claim = events[1].claim
  local done, left = split(events)
  mark_done(done, claim)
  done = {}
  local marked = time.mono_ms()
  for _, event in ipairs(left) do
    if deliver_one(event) then done[#done + 1] = event.id end
    if time.mono_ms() - marked >= MARK_MS then
      mark_done(done, claim)
      done, marked = {}, time.mono_ms()
    end
    if co.closing() then break end
  end
  mark_done(done, claim)
end


-- -> how many there were
local function drain()
  local events, e = outbox.claim(conf.get("jobs.batch"), conf.get("jobs.lease_ms"))
  if not events then
    log.warn("outbox.claim", { error = tostring(e) })
    return 0
  end
  jobs.deliver(events)
  return #events
end


local function resume_sagas()
  local rows, e = sagas.stuck(20)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
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


local function attempt(name, fn, ...)
  local good, ok, e = xpcall(fn, traced, ...)
  if good and ok ~= nil then return end
  log.warn(name, { error = tostring(good and e or ok) })
end


local function sweep(state)
  local now = time.mono_ms()
  if now - state.swept >= SWEEP_MS then
    state.swept = now
    attempt("stock.expire", stock.expire, BATCH)
    attempt("sagas.resume", resume_sagas)
  end
  if state.tells and now - state.told >= TELL_MS then
    state.told = now
    attempt("backlog.tell", backlog.tell)
  end
  if now - state.purged >= PURGE_MS then
    state.purged = now
    attempt("purge", dead.purge, 1000)
    attempt("sessions.purge", sessions.purge, 1000)
    attempt("generations.purge", generation_purge.run, conf.get("generations.keep"))
  end
end


function jobs.run(worker)
  local state = { swept = -SWEEP_MS, purged = time.mono_ms() - PURGE_MS + FIRST_PURGE_MS,
    told = -TELL_MS, tells = worker == "jobs-0", waiter = co.waiter() }
  local handle = redis.subscribe(CHANNEL, function()
    local waiter = state.waiter
    if waiter then
      state.waiter = nil
      waiter:signal(true)
    end
  end)
  log.info("jobs.ready", { worker = worker })
  while not co.closing() do
    local n = drain()
    sweep(state)
    if n == 0 and not co.closing() then
      state.waiter = co.waiter()
      state.waiter:wait(conf.get("jobs.poll_ms"))
      state.waiter = nil
    end
  end
  if handle then handle:close() end
end


return jobs
