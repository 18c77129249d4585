-- till/http/admin_api/sagas - flows of several steps: those that are stuck, and what staff do with
-- them. What may be shown of their data, and what may not be said of them, is till.flow.parked's.
local actor = require "till.http.actor"
local err = require "till.util.err"
local parked = require "till.flow.parked"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local sagas = require "till.store.sagas"
local saga_flow = require "till.flow.saga"
local shapes = require "till.http.shapes"

local PARAMS = { id = s.string { pattern = "^%d+$", max = 15 } }
local REASON = s.string { min = 1, max = 255, doc = "Why; it stands in audit and timeline." }
local STATES = { "running", "waiting", "parked", "done", "undone", "failed" }

local SAGA = s.object({
  id = s.integer {}, name = s.string { doc = "checkout, cancellation." },
  aggregate = s.string { doc = "Public id of what it works on." },
  state = s.string { enum = STATES },
  step = s.string { doc = "The step that it is at; the last one where it is done." },
  steps_done = s.integer {}, attempts = s.integer {}, error = s.string { doc = "The last one." },
  data = s.any {}, next_at = s.string {}, stuck_since = s.string {}, parked_at = s.string {},
}, { additional = true, name = "Saga" })


local function step_of(row)
  local flow = saga_flow.named(row.name)
  local step = flow and (flow.steps[row.step + 1] or flow.steps[row.step])
  return step and step.name or tostring(row.step)
end


local function view(row)
  return { id = row.id, name = row.name, aggregate = row.aggregate, state = row.state,
    step = step_of(row), steps_done = row.step, attempts = row.attempts, error = row.error,
    data = parked.data_of(row), next_at = row.next_at, stuck_since = row.stuck_since,
    parked_at = row.parked_at, created_at = row.created_at, updated_at = row.updated_at }
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  for _, name in ipairs { "state", "name", "aggregate" } do page[name] = ctx.query[name] end
  local rows, e2 = sagas.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, view, function(row) return { row.id } end))
end


local function get(ctx)
  local row, e = sagas.get(tonumber(ctx.params.id))
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no such saga") end
  local history, e2 = sagas.history(row.id)
  if not history then return nil, e2 end
  local out = view(row)
  out.history = render.list(history)
  return ctx:json(200, { saga = out })
end


local function by_of(ctx)
  return { actor = actor.of(ctx), reason = ctx.body.reason, request_id = ctx.req.request_id }
end


local function retry(ctx)
  return ctx:transaction(function(tx)
    local row, e = parked.retry(tx, tonumber(ctx.params.id), by_of(ctx))
    if not row then return nil, e end
    return ctx:json(200, { saga = view(row) })
  end)
end


local function resolve(ctx)
  local saga_id = tonumber(ctx.params.id)
  local ok, e = parked.look_up(saga_id)
  if not ok then return nil, e end
  return ctx:transaction(function(tx)
    local row, e2 = parked.resolve(tx, saga_id, ctx.body, by_of(ctx))
    if not row then return nil, e2 end
    return ctx:json(200, { saga = view(row) })
  end)
end


return {
  route.get("/admin/v1/sagas", {
    summary = "Flows of several steps, newest first; `state=parked` wait for you", tag = "sagas",
    auth = "admin", permission = "sagas.read", page = true,
    query = { state = s.string { enum = STATES }, name = s.string { max = 64 },
      aggregate = s.string { max = 64 } },
    returns = { [200] = shapes.list(SAGA) }, handler = list,
  }),
  route.get("/admin/v1/sagas/{id}", {
    summary = "One of them with the history of its attempts", tag = "sagas", auth = "admin",
    permission = "sagas.read", params = PARAMS, returns = { [200] = shapes.one("saga", SAGA) },
    handler = get,
  }),
  route.post("/admin/v1/sagas/{id}/retry", {
    summary = "Go on with a parked one", tag = "sagas", auth = "admin",
    permission = "sagas.write", params = PARAMS, idempotency = "required",
    body = s.object({ reason = REASON }, { required = { "reason" } }),
    returns = { [200] = shapes.one("saga", SAGA) }, handler = retry, errors = { "conflict" },
  }),
  route.post("/admin/v1/sagas/{id}/resolve", {
    summary = "End a parked one by hand", tag = "sagas", auth = "admin",
    permission = "sagas.write", params = PARAMS, idempotency = "required",
    doc = "As `done`: a checkout with the order that it made, a cancellation whose money went back"
      .. " in another way. As `undone`: a checkout without an order; of payments that nobody knows"
      .. " the outcome of, say what the provider shows.",
    body = s.object({ as = s.string { enum = { "done", "undone" } }, reason = REASON,
      order_id = s.id("ord"), payments = s.array(s.object({ id = s.id("pay"),
        outcome = s.string { enum = { "not_found", "voided" } } },
        { required = { "id", "outcome" } }), { max = 20 }) },
      { required = { "as", "reason" } }),
    returns = { [200] = shapes.one("saga", SAGA) }, handler = resolve, errors = { "conflict" },
  }),
}
