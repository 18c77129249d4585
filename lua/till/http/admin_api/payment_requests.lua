-- till/http/admin_api/payment_requests - staff ask the shopper to pay what is owed for an order.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local err = require "till.util.err"
local payment_request = require "till.flow.payment_request"
local payment_request_json = require "till.http.payment_request_json"
local permissions = require "till.http.permissions"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"

local PARAMS = { id = s.id("ord") }
local ONE = shapes.one("payment_request", shapes.payment_request)


local function note(tx, ctx, action, detail)
  return audit.add({ actor = actor.of(ctx), action = "payment_request." .. action,
    subject = ctx.params.id, detail = detail, request_id = ctx.req.request_id }, tx)
end


-- What it lets go of is money that is held: as for a void.
local function may_let_go(ctx, payment_id)
  if not payment_id or permissions.allows(ctx.auth.roles, "payments.write") then return true end
  return nil, err.new("forbidden", "`instead_of` lets go of a payment: that takes the permission"
    .. " payments.write besides. Leave it out, or let somebody ask who has it.")
end


local function ask(ctx)
  local body = ctx.body
  local may, why = may_let_go(ctx, body.instead_of)
  if not may then return nil, why end
  local wish = { amount = body.amount and body.amount.amount, reason = body.reason,
    currency = body.amount and body.amount.currency, instead_of = body.instead_of }
  function wish.noted(tx)
    return note(tx, ctx, "let_go", { reason = wish.reason, instead_of = wish.instead_of })
  end
  return payment_request.ask(ctx.params.id, wish, actor.of(ctx), function(fn)
    return ctx:transaction(function(tx)
      local response, e = fn(tx)
      if not response then return nil, e end
      local ok, e2 = note(tx, ctx, "ask", { amount = wish.amount, reason = wish.reason,
        instead_of = wish.instead_of })
      if not ok then return nil, e2 end
      return response
    end)
  end, function(order, found)
    return ctx:json(201, { payment_request = payment_request_json.of(found, order) },
      { etag = order.version })
  end)
end


local function withdraw(ctx)
  return ctx:transaction(function(tx)
    local order, e = payment_request.withdraw(tx, ctx.params.id, actor.of(ctx))
    if not order then return nil, e end
    local ok, e2 = note(tx, ctx, "withdraw", {})
    if not ok then return nil, e2 end
    return ctx:json(200, { amount_due = render.money(0, order.currency) },
      { etag = order.version })
  end)
end


return {
  route.post("/admin/v1/orders/{id}/payment-request", {
    summary = "Ask the shopper to pay what is owed for it, with a new payment", tag = "orders",
    auth = "admin", permission = "orders.write", params = PARAMS, idempotency = "required",
    doc = "Owed is what no payment holds: an authorization was lost, or a bank took it back."
      .. " `instead_of` names a payment that holds money which will never come; it is let go of"
      .. " first, which takes `payments.write` besides. In place of what was asked for before.",
    body = s.object({ amount = s.money(), reason = s.string { min = 1, max = 255 },
      instead_of = s.id("pay") }, { required = { "reason" } }),
    returns = { [201] = ONE }, handler = ask, errors = { "conflict" },
  }),
  route.delete("/admin/v1/orders/{id}/payment-request", {
    summary = "Ask for it no more", tag = "orders", auth = "admin", permission = "orders.write",
    params = PARAMS, idempotency = "optional",
    doc = "What the shopper pays from then on is given back.", returns = { [200] = true },
    handler = withdraw,
  }),
}
