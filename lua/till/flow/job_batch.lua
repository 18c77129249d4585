-- till/flow/job_batch - delivers what was claimed together, and settles each event.
--
--   job_batch.deliver(taking [, is_beside]) -> how many were settled
--                        taking = of till.flow.job_claim.take; is_beside: others are done meanwhile
--
-- An event is delivered at least once: to what the server does itself (till.flow.job_handlers),
-- then to the plugins' hooks. First all are handed on to plugins that publish (till.flow.publish).
-- Of a type that no plugin asks for, and that the server does with one statement for many, all are
-- done together. What fails comes again later, and ends with the dead letters.
--
-- While it works the leases are made longer (till.flow.job_hold).
-- An event that is taken over is delivered alone, and the others go back: it may be what ended its
-- worker. So what ends workers stops nothing else, and once it has done so as often as it may be
-- tried it is a dead letter.
--
-- The turn is over after TURN_MS: what was not begun goes back at once and untried, for what is
-- more important, and came meanwhile, is next. But before that each type of which nothing was done
-- has its first one, the type that has waited for its turn longest first, until LAST_MS are over;
-- one of them has it always. So nothing waits for ever, however much comes that is more important.
-- When this generation ends, nothing more is begun.
local co = require "till.prim.co"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local handlers = require "till.flow.job_handlers"
local HOOKS = require "till.plugin.hooks"
local job_claim = require "till.flow.job_claim"
local job_hold = require "till.flow.job_hold"
local json = require "till.prim.json"
local kinds = require "till.flow.kinds"
local log = require "till.prim.log"
local orders = require "till.store.orders"
local publish = require "till.flow.publish"
local queue = require "till.store.queue"
local time = require "till.prim.time"

local job_batch = {}

local LAST_MS = 1000
local count, give_back = job_hold.count, job_hold.give_back
local is_done, failed = job_hold.done, job_hold.failed


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
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


-- ---- a batch --------------------------------------------------------------------------------

local deliver_one, deliver_together, deliver_copies


function deliver_one(batch, events)
  local event = events[1]
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
    batch.served[events[1].type] = nil
    return
  end
  count(events[1].type, "done", #events)
  for _, event in ipairs(events) do is_done(batch, event) end
end


-- Where their receiver is away they go back untried: it is nothing of theirs.
function deliver_copies(batch, events)
  local failures, e = publish.deliver(events)
  if not failures then
    if err.is(e) and e.retryable then
      local waiting = {}
      for _, event in ipairs(events) do waiting[event.id] = event end
      give_back(batch, waiting, tostring(e))
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
  give_back(batch, others)
  give_back(batch, suspects, nil, true)
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


local function begin(batch, items, item)
  local way, events = item[1], item[2]
  local event_type = events[1].type
  for _, event in ipairs(events) do event.is_begun = true end
  batch.served[event_type] = true
  way(batch, events, items)
  if batch.served[event_type] then job_claim.served(event_type) end
  if time.mono_ms() - batch.marked >= job_hold.MARK_MS then job_hold.mark(batch) end
end


-- -> what is first of the type that has waited longest of those that had nothing in this turn
local function longest_unserved(batch, items, from)
  local best, best_at
  for i = from, #items do
    local event_type = items[i][2][1].type
    local at = job_claim.served_at(event_type)
    if not batch.served[event_type] and not items[i].is_begun and (not best or at < best_at) then
      best, best_at = items[i], at
    end
  end
  return best
end


local function serve_others(batch, items, from)
  local until_ms = time.mono_ms() + LAST_MS
  repeat
    local item = longest_unserved(batch, items, from)
    if not item then return end
    item.is_begun = true
    begin(batch, items, item)
  until time.mono_ms() >= until_ms or not job_hold.may_go_on(batch)
end


local function run(batch, events)
  events = handed_on(batch, without_suspects(batch, events))
  local items, i = items_of(events), 1
  while items[i] and job_hold.is_turn(batch) do
    begin(batch, items, items[i])
    i = i + 1
  end
  if job_hold.may_go_on(batch) and not batch.is_beside then serve_others(batch, items, i) end
end


function job_batch.deliver(taking, is_beside)
  local settled = 0
  if #taking.events > 0 then
    local batch, trace = job_hold.new(taking, is_beside), co.traceparent()
    job_hold.keep(batch)
    local good, e = xpcall(run, traced, batch, taking.events)
    if not good then log.error("jobs.deliver", { error = tostring(e) }) end
    if trace then co.adopt(trace) end
    settled = job_hold.over(batch)
  end
  if taking.slots then
    local ok, e = queue.free_slots(taking.slots)
    if not ok then log.warn("jobs.slot", { error = tostring(e) }) end
  end
  return settled
end


return job_batch
