-- till/http/admin_api/refunds - money that goes back while the shopper keeps the goods; who agrees
-- to it above which limit.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local err = require "till.util.err"
local limits = require "till.http.refund_limits"
local money = require "till.money"
local permissions = require "till.http.permissions"
local refunds = require "till.flow.refunds"
local render = require "till.http.render"
local request_of = require "till.http.request_key"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local sql = require "till.prim.sql"
local store = require "till.store.refunds"
local views = require "till.http.views"

local PARAMS = { id = s.id("rfnd") }
local REASON = s.string { min = 1, max = 255 }
local STATES = { "requested", "pending", "done", "refused", "rejected", "expired", "failed" }
local MOST = 2 ^ 53 - 1


-- 202: nobody agreed yet, or the provider has not given it back yet.
local function answering(ctx)
  return function(r)
    return ctx:json(r.state == "done" and 200 or 202, { refund = views.refund(r) })
  end
end


local function transaction_of(ctx)
  return function(fn) return ctx:transaction(fn) end
end


local function by_of(ctx)
  local limit, e = limits.of(ctx.auth.roles)
  if not limit then return nil, e end
  return { actor = actor.of(ctx), limit = limit, request_id = ctx.req.request_id,
    answer = ctx.body.reason }
end


local function create(ctx)
  local by, e = by_of(ctx)
  if not by then return nil, e end
  local body = ctx.body
  if body.amount and body.amount.amount < 1 then
    return nil, err.new("invalid_request", "the amount has to be more than 0",
      { errors = { { pointer = "/amount/amount", detail = "more than 0", code = "range" } } })
  end
  return refunds.create(ctx.params.id, { lines = body.lines, shipping = body.shipping,
    amount = body.amount and body.amount.amount, currency = body.amount and body.amount.currency,
    reason = body.reason, request = request_of(ctx) }, by, transaction_of(ctx), answering(ctx))
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  page.state, page.order_id = ctx.query.state, ctx.query.order_id
  local rows, e2 = store.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, views.refund, function(r) return { r.id } end))
end


local function get(ctx)
  local r, e = store.get(ctx.params.id)
  if r == nil then return nil, e end
  if not r then return nil, err.new("not_found", "there is no such refund") end
  return ctx:json(200, { refund = views.refund(r) })
end


local function approve(ctx)
  local by, e = by_of(ctx)
  if not by then return nil, e end
  return refunds.approve(ctx.params.id, by, transaction_of(ctx), answering(ctx))
end


local function reject(ctx)
  local by, e = by_of(ctx)
  if not by then return nil, e end
  return ctx:transaction(function(tx)
    local r, e2 = refunds.reject(tx, ctx.params.id, by)
    if not r then return nil, e2 end
    return ctx:json(200, { refund = views.refund(r) })
  end)
end


local function limits_view()
  local all, e = limits.get()
  if not all then return nil, e end
  local out = {}
  for role, own in pairs(all) do
    for currency, amount in pairs(own) do
      out[#out + 1] = { role = role, currency = currency, amount = amount }
    end
  end
  table.sort(out, function(a, b)
    return a.role .. "\n" .. a.currency < b.role .. "\n" .. b.currency
  end)
  return render.list(out)
end


local function get_limits(ctx)
  local out, e = limits_view()
  if not out then return nil, e end
  return ctx:json(200, { limits = out })
end


-- One that is written wrongly would limit nobody.
local function check_limits(rows)
  local errors = {}
  for i, row in ipairs(rows) do
    if not permissions.ROLES[row.role] and not row.role:find "[.*]" then
      errors[#errors + 1] = { pointer = ("/limits/%d/role"):format(i - 1), code = "unknown",
        detail = "there is no such role" }
    end
    if row.currency ~= "*" and not money.exponent(row.currency) then
      errors[#errors + 1] = { pointer = ("/limits/%d/currency"):format(i - 1), code = "unknown",
        detail = "a currency, or * for all others" }
    end
  end
  if #errors == 0 then return true end
  return nil, err.new("invalid_request", errors[1].detail, { errors = errors })
end


local function put_limits(ctx)
  local good, e = check_limits(ctx.body.limits)
  if not good then return nil, e end
  local all = {}
  for _, row in ipairs(ctx.body.limits) do
    all[row.role] = all[row.role] or {}
    all[row.role][row.currency] = row.amount
  end
  local done, e2 = sql.transaction(function(tx)
    local ok, e3 = limits.set(all, tx)
    if not ok then return nil, e3 end
    return audit.add({ actor = actor.of(ctx), action = "refund.limits", subject = "refunds.limits",
      detail = ctx.body, request_id = ctx.req.request_id }, tx)
  end)
  if not done then return nil, e2 end
  return get_limits(ctx)
end


local ONE = { [200] = shapes.one("refund", shapes.refund),
  [202] = shapes.one("refund", shapes.refund) }


return {
  route.post("/admin/v1/orders/{id}/refunds", {
    summary = "Give money back; the shopper keeps the goods", tag = "refunds", auth = "admin",
    permission = "refunds.write", params = { id = s.id("ord") }, idempotency = "required",
    doc = "One of `lines` (what was charged for these units), `shipping` (what is left of it) and"
      .. " `amount` (goodwill). Never more than was captured. 202: it waits, as `requested` for"
      .. " somebody with a higher limit, as `pending` for the provider.",
    body = s.object({ lines = s.array(s.object({ line_id = s.id("line"),
        quantity = s.integer { min = 1 } }, { required = { "line_id", "quantity" } }),
        { min = 1, max = 1000 }), shipping = s.boolean {}, amount = s.money(), reason = REASON },
      { required = { "reason" } }),
    returns = ONE, handler = create, errors = { "conflict" },
  }),
  route.get("/admin/v1/refunds", {
    summary = "Refunds, newest first; `state=requested` wait for somebody", tag = "refunds",
    auth = "admin", permission = "refunds.read", page = true,
    query = { state = s.string { enum = STATES }, order_id = s.id("ord") },
    returns = { [200] = shapes.list(shapes.refund) }, handler = list,
  }),
  route.get("/admin/v1/refunds/{id}", {
    summary = "One refund", tag = "refunds", auth = "admin", permission = "refunds.read",
    params = PARAMS, returns = { [200] = shapes.one("refund", shapes.refund) }, handler = get,
  }),
  route.post("/admin/v1/refunds/{id}/approve", {
    summary = "Agree to what somebody else asked for", tag = "refunds", auth = "admin",
    permission = "refunds.approve", params = PARAMS, idempotency = "required",
    body = s.object { reason = REASON }, returns = ONE, handler = approve,
    errors = { "conflict" },
  }),
  route.post("/admin/v1/refunds/{id}/reject", {
    summary = "Do not", tag = "refunds", auth = "admin", permission = "refunds.approve",
    params = PARAMS, idempotency = "required",
    body = s.object({ reason = REASON }, { required = { "reason" } }),
    returns = { [200] = shapes.one("refund", shapes.refund) }, handler = reject,
    errors = { "conflict" },
  }),
  route.get("/admin/v1/refund-limits", {
    summary = "How much each role may give back by itself", tag = "refunds", auth = "admin",
    permission = "refunds.read", returns = { [200] = true }, handler = get_limits,
  }),
  route.put("/admin/v1/refund-limits", {
    summary = "Set them all", tag = "refunds", auth = "admin", permission = "settings.write",
    idempotency = "optional",
    doc = "A role that is not named has no limit. `*` is every currency that is not named.",
    body = s.object({ limits = s.array(s.object({ role = s.string { min = 1, max = 64 },
      currency = s.string { min = 1, max = 3, pattern = "^[A-Z*]+$" },
      amount = s.integer { min = 0, max = MOST } }, { required = { "role", "currency",
      "amount" } }), { max = 200 }) }, { required = { "limits" } }),
    returns = { [200] = true }, handler = put_limits,
  }),
}
