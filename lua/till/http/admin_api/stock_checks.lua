-- till/http/admin_api/stock_checks - passes that compare stock with its log, what they found, and
-- alerts: conditions that somebody should know of.
local actor = require "till.http.actor"
local alert_by_hand = require "till.flow.alert_by_hand"
local alerts = require "till.store.alerts"
local checks = require "till.store.stock_checks"
local err = require "till.util.err"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"

local NUMBER = { id = s.string { pattern = "^%d+$", max = 15 } }

local CHECK = s.object({
  id = s.integer {}, state = s.string { enum = { "running", "done" } }, repairs = s.boolean {},
  checked = s.integer { doc = "Rows of stock: a SKU at a location." },
  differences = s.integer {}, repaired = s.integer {}, actor = s.string {},
  started_at = s.string { format = "date-time" }, finished_at = s.string { format = "date-time" },
}, { additional = true, name = "StockCheck" })

local FINDING = s.object({
  id = s.integer {}, kind = s.string { enum = { "projection", "promised", "read_model",
    "sale_without_order", "order_without_sale", "held_too_long", "not_summed" } },
  subject = s.string { doc = "Public id of a variant, a cart or an order." },
  location = s.nullable(s.string {}), repaired = s.boolean {}, detail = s.any {},
  at = s.string { format = "date-time" },
}, { additional = true, name = "StockFinding" })

local ALERT = s.object({
  id = s.integer {}, kind = s.string { doc = "The type of its event, e.g. stock.low." },
  subject = s.string {}, state = s.string { enum = { "open", "closed" } }, level = s.integer {},
  times = s.integer { doc = "Seen since it was opened." }, detail = s.any {},
  opened_at = s.string { format = "date-time" }, seen_at = s.string { format = "date-time" },
  closed_at = s.string { format = "date-time" },
}, { additional = true, name = "Alert" })


local function to_check(row)
  return { id = row.id, state = row.state, repairs = row.repairs == 1, checked = row.checked,
    differences = row.differences, repaired = row.repaired, actor = row.actor,
    started_at = row.started_at, finished_at = row.finished_at }
end


local function by_id(row)
  return { row.id }
end


local function answer(ctx, rows, e, page, render)
  if not rows then return nil, e end
  return ctx:json(200, ctx:list(rows, page, render, by_id))
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = checks.list(page)
  return answer(ctx, rows, e2, page, to_check)
end


local function get(ctx)
  local row, e = checks.get(tonumber(ctx.params.id))
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no check of that number") end
  return ctx:json(200, { check = to_check(row) })
end


local function findings(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  page.check_id = tonumber(ctx.params.id)
  local rows, e2 = checks.findings(page)
  return answer(ctx, rows, e2, page)
end


local function start(ctx)
  return ctx:transaction(function(tx)
    local check_id, e = checks.begin(ctx.body.repairs == true, actor.of(ctx), tx)
    if not check_id then return nil, e end
    local row, e2 = checks.get(check_id, tx)
    if not row then return nil, e2 end
    return ctx:json(202, { check = to_check(row) })
  end)
end


local function list_alerts(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  page.state, page.kind = ctx.query.state, ctx.query.kind
  local rows, e2 = alerts.list(page)
  return answer(ctx, rows, e2, page)
end


local function close_alert(ctx)
  return ctx:transaction(function(tx)
    local row, e = alert_by_hand.close(tx, tonumber(ctx.params.id), { actor = actor.of(ctx),
      reason = ctx.body.reason, request_id = ctx.req.request_id })
    if not row then return nil, e end
    return ctx:json(200, { alert = row })
  end)
end


return {
  route.get("/admin/v1/stock-checks", {
    summary = "Passes that compared stock with its log", tag = "inventory", auth = "admin",
    permission = "inventory.read", page = true, returns = { [200] = shapes.list(CHECK) },
    handler = list,
  }),
  route.post("/admin/v1/stock-checks", {
    summary = "Begin one now", tag = "inventory", auth = "admin", permission = "inventory.write",
    doc = "A jobs worker takes it up within a second, slice by slice.", idempotency = "optional",
    body = s.object { repairs = s.boolean { doc = "Put right what is found, by events." } },
    returns = { [202] = shapes.one("check", CHECK) }, handler = start,
  }),
  route.get("/admin/v1/stock-checks/{id}", {
    summary = "One of them", tag = "inventory", auth = "admin", permission = "inventory.read",
    params = NUMBER, returns = { [200] = shapes.one("check", CHECK) }, handler = get,
  }),
  route.get("/admin/v1/stock-checks/{id}/findings", {
    summary = "What it found", tag = "inventory", auth = "admin", permission = "inventory.read",
    params = NUMBER, page = true, returns = { [200] = shapes.list(FINDING) }, handler = findings,
  }),
  route.get("/admin/v1/alerts", {
    summary = "What somebody should know of", tag = "alerts", auth = "admin",
    permission = "alerts.read", page = true,
    query = { state = s.string { enum = { "open", "closed" } }, kind = s.string { max = 64 } },
    returns = { [200] = shapes.list(ALERT) }, handler = list_alerts,
  }),
  route.post("/admin/v1/alerts/{id}/close", {
    summary = "End one that nothing else ends", tag = "alerts", auth = "admin",
    permission = "payments.write", params = NUMBER, idempotency = "required",
    doc = "Of a refund that failed and that no row of the shop is of (`refund.failed`), and of"
      .. " money that is not in the books (`settlement.missing_here`). Any other ends with what it"
      .. " tells of: 409, which says what to do.",
    body = s.object({ reason = s.string { min = 1, max = 255 } }, { required = { "reason" } }),
    returns = { [200] = shapes.one("alert", ALERT) }, handler = close_alert,
    errors = { "conflict" },
  }),
}
