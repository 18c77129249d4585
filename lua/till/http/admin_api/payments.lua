-- till/http/admin_api/payments - attempts to be paid, and the books, for staff.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local captures = require "till.flow.captures"
local captures_store = require "till.store.captures"
local err = require "till.util.err"
local events = require "till.store.payment_events"
local ledger = require "till.store.ledger"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local render = require "till.http.render"
local request_of = require "till.http.request_key"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local sweep = require "till.flow.sweep"
local verdict = require "till.flow.payment_verdict"
local views = require "till.http.views"

local PARAMS = { id = s.id("pay") }
local ONE = { [200] = shapes.one("payment", shapes.payment) }
local ASKED_AFTER = { sending = true, unknown = true, requires_action = true }


local function read(payment_id)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  return p
end


local function answer(ctx, p)
  return ctx:json(200, { payment = views.payment(p) })
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = payments.list { state = ctx.query.state, order_id = ctx.query.order_id,
    limit = page.limit, after = page.after, before = page.before }
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, views.payment, function(p) return { p.id } end))
end


local function get(ctx)
  local p, e = read(ctx.params.id)
  if not p then return nil, e end
  local happened, e2 = events.of(p.id)
  if not happened then return nil, e2 end
  local out = views.payment(p)
  local parts, e3 = captures_store.of_payment(p.id)
  if not parts then return nil, e3 end
  for i, part in ipairs(parts) do parts[i] = views.capture(part, p.currency) end
  out.events, out.captures = render.list(happened), render.list(parts)
  return ctx:json(200, { payment = out })
end


local function note(ctx, action, p, tx)
  return audit.add({ actor = actor.of(ctx), action = "payment." .. action, subject = p.id,
    detail = { order_id = p.order_id, state = p.state, reason = ctx.body.reason },
    request_id = ctx.req.request_id }, tx)
end


local function capture(ctx)
  local amount = ctx.body.amount
  local wish = { amount = amount and amount.amount, currency = amount and amount.currency,
    final = ctx.body.final, request = request_of(ctx) }
  return captures.take(ctx.params.id, wish, actor.of(ctx), function(fn)
    return ctx:transaction(function(tx)
      local p, e = fn(tx)
      if not p then return nil, e end
      local noted, e2 = note(ctx, "capture", p, tx)
      if not noted then return nil, e2 end
      return answer(ctx, p)
    end)
  end)
end


-- What is no answer stays as it is: it is looked at again, by whoever comes next.
local function lookup(ctx)
  local p, e = read(ctx.params.id)
  if not p then return nil, e end
  if not ASKED_AFTER[p.state] then
    return nil, err.new("conflict", "its outcome is known: it is " .. p.state)
  end
  local _, e2 = payment.settle(p)
  local now, e3 = read(p.id)
  if not now then return nil, e3 end
  if e2 and ASKED_AFTER[now.state] and e2.retryable then return nil, e2 end
  return ctx:transaction(function(tx)
    local ok, e4 = note(ctx, "lookup", now, tx)
    if not ok then return nil, e4 end
    return answer(ctx, now)
  end)
end


-- What an order rests on is let go with the order: its units and ledger go with the money.
local function void(ctx)
  local p, e = read(ctx.params.id)
  if not p then return nil, e end
  if p.order_id then
    return nil, err.new("conflict", "an order rests on it: cancel the order")
  end
  if p.state ~= "authorized" and p.state ~= "voided" then
    return nil, err.new("conflict", "a payment that is " .. p.state .. " cannot be voided")
  end
  local gone, e2 = sweep.release(p)
  if gone == nil then return nil, e2 end
  if not gone then
    return nil, err.new("conflict", "its cart is being completed, or its flow waits: see"
      .. " /admin/v1/sagas, or try again")
  end
  return ctx:transaction(function(tx)
    local noted, e3 = note(ctx, "void", p, tx)
    if not noted then return nil, e3 end
    local now, e4 = payments.get(p.id, tx)
    if not now then return nil, e4 end
    return answer(ctx, now)
  end)
end


local function resolve(ctx)
  local ok, e = verdict.look_up(ctx.params.id, ctx.body.as)
  if not ok then return nil, e end
  return ctx:transaction(function(tx)
    local p, e2 = verdict.give(tx, ctx.params.id, ctx.body.as, { actor = actor.of(ctx),
      reason = ctx.body.reason, request_id = ctx.req.request_id })
    if not p then return nil, e2 end
    return answer(ctx, p)
  end)
end


local function balance(ctx)
  local rows, e = ledger.balance()
  if not rows then return nil, e end
  return ctx:json(200, { balance = render.list(rows) })
end


local function entries(ctx)
  local rows, e = ledger.of_order(ctx.params.id)
  if not rows then return nil, e end
  return ctx:json(200, { entries = render.list(rows) })
end


return {
  route.get("/admin/v1/payments", {
    summary = "Attempts to be paid", tag = "payments", auth = "admin",
    permission = "payments.read", page = true,
    query = { state = s.string { max = 32 }, order_id = s.id("ord") },
    returns = { [200] = shapes.list(shapes.payment) }, handler = list,
  }),
  route.get("/admin/v1/payments/{id}", {
    summary = "One of them with what happened to it", tag = "payments", auth = "admin",
    permission = "payments.read", params = PARAMS, returns = ONE, handler = get,
  }),
  route.post("/admin/v1/payments/{id}/capture", {
    summary = "Take the money, or a part of it", tag = "payments", auth = "admin",
    permission = "payments.write", params = PARAMS, idempotency = "required",
    doc = "Without `amount` all that is left of it. A part needs a provider that captures a payment"
      .. " more than once; `final` lets go of the rest.",
    body = s.object { amount = s.money(), final = s.boolean {} }, returns = ONE,
    handler = capture, errors = { "conflict" },
  }),
  route.post("/admin/v1/payments/{id}/lookup", {
    summary = "Ask the provider now what became of it", tag = "payments", auth = "admin",
    permission = "payments.write", params = PARAMS, idempotency = "required",
    body = s.object {}, returns = ONE, handler = lookup, errors = { "conflict" },
  }),
  route.post("/admin/v1/payments/{id}/void", {
    summary = "Let go of an authorized one that no order rests on", tag = "payments",
    auth = "admin", permission = "payments.write", params = PARAMS, idempotency = "required",
    body = s.object({ reason = s.string { min = 1, max = 255 } }, { required = { "reason" } }),
    returns = ONE, handler = void, errors = { "conflict" },
  }),
  route.post("/admin/v1/payments/{id}/resolve", {
    summary = "Say what became of it, where its provider never tells", tag = "payments",
    doc = "The provider is asked first, and what it says wins: 409 with `provider_says`. No money"
      .. " is moved: it is booked as though the provider had told it.",
    auth = "admin", permission = "payments.write", params = PARAMS, idempotency = "required",
    body = s.object({ as = s.string { enum = verdict.KINDS },
      reason = s.string { min = 1, max = 255 } }, { required = { "as", "reason" } }),
    returns = ONE, handler = resolve, errors = { "conflict" },
  }),
  route.get("/admin/v1/ledger/balance", {
    summary = "The trial balance: the amounts of a currency sum to zero", tag = "payments",
    doc = "Minor units; a debit is positive.", auth = "admin", permission = "payments.read",
    returns = { [200] = true }, handler = balance,
  }),
  route.get("/admin/v1/orders/{id}/ledger", {
    summary = "Its entries, oldest first", tag = "payments", auth = "admin",
    permission = "payments.read", params = { id = s.id("ord") }, returns = { [200] = true },
    handler = entries,
  }),
}
