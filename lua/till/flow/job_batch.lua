-- till/flow/job_batch - delivers what was claimed together, and settles each event.
--
--   job_batch.deliver(taking) -> how many were settled     taking = of till.flow.job_claim.take
--
-- An event is delivered at least once: to what the server does itself (till.flow.job_handlers),
-- then to the plugins' hooks. First all are handed on to plugins that publish (till.flow.publish).
-- Of a type that no plugin asks for, and that the server does with one statement for many, all are
-- done together. What fails comes again later, and ends with the dead letters.
--
-- While it works the leases are made longer, a third of one at a time. Where that fails for so
-- long that somebody else may have taken over, nothing more is begun: so order per aggregate holds.
-- An event that is taken over is delivered alone, and the others go back: it may be what ended its
-- worker. So what ends workers stops nothing else, and once it has done so as often as it may be
-- tried it is a dead letter.
-- After TURN_MS, or when this generation ends, what was not begun goes back at once and untried:
-- what is more important, and came meanwhile, has its turn.
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local handlers = require "till.flow.job_handlers"
local HOOKS = require "till.plugin.hooks"
local json = require "till.prim.json"
local kinds = require "till.flow.kinds"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local publish = require "till.flow.publish"
local queue = require "till.store.queue"
local time = require "till.prim.time"

local job_batch = {}

local MARK_MS = 1000
local TURN_MS = 3000


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


local function count(event_type, result, n)
  metrics.add("till_events_total", { type = event_type, result = result }, n)
end


-- ---- one event ------------------------------------------------------------------------------

local function is_asked_for(event)
  local hook = HOOKS[event.type]
  -- what one plugin is asked to do may bear the name of the event that leads to it: no listener
  if not hook or not hook.many then return false end
  return dispatch.has(event.type)
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
  if event.traceparent ~= "" then co.adopt(event.traceparent) end
  local payload, e = json.decode(event.payload)
  if payload == nil then return nil, e end
  local handler = handlers.one[event.type]
  if handler then
    local ok, e2 = handler(payload, event)
    if not ok then return nil, e2 end
  end
  return ask_plugins(event, payload)
end


-- ---- settling -------------------------------------------------------------------------------

local function ids_of(todo)
  local out = {}
  for event_id in pairs(todo) do out[#out + 1] = event_id end
  return out
end


local function is_done(batch, event)
  batch.todo[event.id] = nil
  batch.done[#batch.done + 1] = event.id
end


-- A lost answer is no harm: they are delivered once more.
local function mark(batch)
  local ids = batch.done
  batch.done, batch.marked = {}, time.mono_ms()
  if #ids == 0 then return end
  local ok, e = outbox.done(ids, batch.claim)
  if not ok then log.warn("outbox.done", { events = #ids, error = tostring(e) }) end
end


local function failed(batch, event, e)
  batch.todo[event.id] = nil
  count(event.type, "failed", 1)
  log.warn("event.failed", { id = event.id, type = event.type, attempts = event.attempts,
    error = tostring(e) })
  local most = kinds.of(event.type).attempts
  local ok, e2 = outbox.retry(event.id, batch.claim, most, tostring(e))
  if not ok then log.warn("outbox.retry", { id = event.id, error = tostring(e2) }) end
  if ok and event.attempts >= most then
    log.error("event.dead", { id = event.id, type = event.type, error = tostring(e) })
  end
end


-- -> how many
local function give_back(batch, todo, reason, is_suspect)
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


-- What is done is marked meanwhile too: however long one event takes, its neighbours are not
-- delivered twice, and what waits for them does not wait for it.
local function keep_leases(batch)
  if batch.rest then return end
  batch.rest = co.waiter()
  local third = batch.lease_ms / 3
  co.turn_end(function()
    local extended = time.mono_ms()
    while not batch.is_over do
      batch.rest:wait(math.min(third, MARK_MS), true)
      if not batch.is_over then mark(batch) end
      if not batch.is_over and time.mono_ms() - extended >= third then
        extended = time.mono_ms()
        extend(batch)
      end
    end
  end)
end


local function may_go_on(batch)
  local now = time.mono_ms()
  if now - batch.leased_at >= batch.lease_ms * 0.8 then batch.is_lost = true end
  return not batch.is_lost and not co.closing() and now - batch.begun < TURN_MS
end


-- ---- a batch --------------------------------------------------------------------------------

local deliver_one, deliver_together, deliver_copies


function deliver_one(batch, events)
  local event = events[1]
  keep_leases(batch)
  local good, ok, e = xpcall(work, traced, event)
  if not good then ok, e = nil, ok end
  if not ok then return failed(batch, event, e) end
  count(event.type, "done", 1)
  is_done(batch, event)
end


function deliver_together(batch, events, items)
  local fn, payloads = handlers.together[events[1].type], {}
  local good, ok = true, true
  if fn then
    for i, event in ipairs(events) do payloads[i] = json.decode(event.payload) or {} end
    good, ok = xpcall(fn, traced, payloads)
  end
  if not good or not ok then
    for _, event in ipairs(events) do items[#items + 1] = { deliver_one, { event } } end
    return
  end
  count(events[1].type, "done", #events)
  for _, event in ipairs(events) do is_done(batch, event) end
end


-- Where their receiver is away they go back untried: it is nothing of theirs.
function deliver_copies(batch, events)
  keep_leases(batch)
  local failures, e = publish.deliver(events)
  if not failures then
    if err.is(e) and e.retryable then
      local waiting = {}
      for _, event in ipairs(events) do waiting[event.id] = event end
      batch.given_back = batch.given_back + give_back(batch, waiting, tostring(e))
      return
    end
    for _, event in ipairs(events) do failed(batch, event, e) end
    return
  end
  local n = 0
  for _, event in ipairs(events) do
    local why = failures[event.id]
    if why then
      failed(batch, event, why)
    else
      n = n + 1
      is_done(batch, event)
    end
  end
  count(events[1].type, "done", n)
end


local function way_of(event)
  if publish.is_copy(event.type) then return deliver_copies end
  if is_asked_for(event) then return deliver_one end
  if handlers.together[event.type] or not handlers.one[event.type] then return deliver_together end
  return deliver_one
end


-- What is done at once comes where the first of its type was.
local function items_of(events)
  local out, groups = {}, {}
  for _, event in ipairs(events) do
    local way, group = way_of(event), groups[event.type]
    if way ~= deliver_one and group then
      group[#group + 1] = event
    else
      group = { event }
      groups[event.type] = group
      out[#out + 1] = { way, group }
    end
  end
  return out
end


local function new_batch(taking)
  local batch = { claim = taking.events[1].claim, slots = taking.slots, todo = {}, done = {},
    given_back = 0,
    lease_ms = conf.get("jobs.lease_ms"), begun = time.mono_ms(), marked = time.mono_ms() }
  batch.leased_at = taking.leased_at or batch.begun
  for _, event in ipairs(taking.events) do batch.todo[event.id] = event end
  return batch
end


-- One of what is taken over may have ended its worker. They go one by one; the others of them
-- remain suspects, or each crash would let one go and take the rest along. -> what to deliver now
local function without_suspects(batch, events)
  local suspect
  local others, suspects = {}, {}
  for _, event in ipairs(events) do
    if event.is_taken_over and not suspect then
      suspect = event
    else
      local list = event.is_taken_over and suspects or others
      list[event.id] = event
    end
  end
  if not suspect then return events end
  batch.given_back = give_back(batch, others) + give_back(batch, suspects, nil, true)
  if suspect.attempts <= kinds.of(suspect.type).attempts then return { suspect } end
  failed(batch, suspect, err.new("internal",
    "whoever delivered it ended, or stood still, each time"))
  return {}
end


-- -> those whose copies are there. Where it cannot be done for all at once each is tried alone: one
-- that cannot be copied (too large for the database's packet, say) keeps nobody else back.
local function handed_on(batch, events)
  local ok, e = publish.hand_on(events, batch.claim)
  if ok then return events end
  local out, is_hopeless = {}, err.is(e) and not e.retryable
  if is_hopeless and #events == 1 then
    failed(batch, events[1], e)
  elseif is_hopeless then
    for _, event in ipairs(events) do out[#out + 1] = handed_on(batch, { event })[1] end
  else
    log.warn("publish.hand_on", { error = tostring(e) })
  end
  return out
end


local function run(batch, events)
  events = handed_on(batch, without_suspects(batch, events))
  local items, i = items_of(events), 1
  while items[i] and may_go_on(batch) do
    local item = items[i]
    item[1](batch, item[2], items)
    if time.mono_ms() - batch.marked >= MARK_MS then mark(batch) end
    i = i + 1
  end
end


function job_batch.deliver(taking)
  local settled = #taking.events
  if settled > 0 then
    local batch, trace = new_batch(taking), co.traceparent()
    local good, e = xpcall(run, traced, batch, taking.events)
    if not good then log.error("jobs.deliver", { error = tostring(e) }) end
    if trace then co.adopt(trace) end
    mark(batch)
    settled = settled - batch.given_back - give_back(batch, batch.todo)
    batch.is_over = true
    if batch.rest then batch.rest:signal() end
  end
  if taking.slots then
    local ok, e = queue.free_slots(taking.slots)
    if not ok then log.warn("jobs.slot", { error = tostring(e) }) end
  end
  return settled
end


return job_batch
