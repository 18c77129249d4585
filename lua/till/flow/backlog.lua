-- till/flow/backlog - tells /metrics how much is left to do.
--
--   tell() -> true | nil, err
--
-- What was there the last time and is no more is told as 0: a series stays.
local backlog_store = require "till.store.backlog"
local metrics = require "till.prim.metrics"

local backlog = {}

-- told also before there ever was one, so that who watches finds the series
local types = { ["order.placed"] = { type = "order.placed" },
  ["payment.capture"] = { type = "payment.capture" } }
local flows = {}
local MOVES = { running = true, waiting = true } -- the others wait for staff


local NOTHING = { pending = 0, running = 0, dead = 0, oldest_s = 0 }


local function tell_outbox()
  local outbox, e = backlog_store.outbox()
  if not outbox then return nil, e end
  for event_type in pairs(outbox) do
    types[event_type] = types[event_type] or { type = event_type }
  end
  for event_type, labels in pairs(types) do
    local of_type = outbox[event_type] or NOTHING
    metrics.set("till_outbox_pending", labels, of_type.pending)
    metrics.set("till_outbox_running", labels, of_type.running)
    metrics.set("till_outbox_dead", labels, of_type.dead)
    metrics.set("till_outbox_oldest_age_seconds", labels, of_type.oldest_s)
  end
  return true
end


local function flow_of(name)
  local flow = flows[name]
  if not flow then
    flow = { counts = {}, labels = { name = name }, of_state = {} }
    for _, state in ipairs { "running", "waiting", "parked", "failed" } do
      flow.of_state[state] = { name = name, state = state }
    end
    flows[name] = flow
  end
  return flow
end


local function tell_sagas()
  local rows, e = backlog_store.sagas()
  if not rows then return nil, e end
  for _, flow in pairs(flows) do flow.counts, flow.age_s = {}, 0 end
  for _, row in ipairs(rows) do
    local flow = flow_of(row.name)
    flow.counts[row.state] = row.n
    flow.age_s = math.max(flow.age_s or 0, MOVES[row.state] and row.age_s or 0)
  end
  flow_of("checkout")
  for _, flow in pairs(flows) do
    for state, labels in pairs(flow.of_state) do
      metrics.set("till_sagas", labels, flow.counts[state] or 0)
    end
    metrics.set("till_sagas_oldest_age_seconds", flow.labels, flow.age_s or 0)
  end
  return true
end


function backlog.tell()
  local done, e = tell_outbox()
  if not done then return nil, e end
  return tell_sagas()
end


return backlog
