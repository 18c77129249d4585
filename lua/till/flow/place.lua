-- till/flow/place - the one transaction that makes an order: order, lines with their frozen
-- price, ledger, payment, events, the end of cart and flow, the idempotency record,
-- redemptions, and stock last: its rows are the ones that others wait for. It is one
-- till.store.script: one round trip, one commit, and nothing of it happens where one of its
-- conditions does not hold.
--
--   place.run(data, env) -> true | nil, err       the last step of a flow; data as
--                                                 till.flow.checkout froze it
--   place.at_once(data, env, { held =, payment =, result = }) -> true | false | nil, err
--                   without a flow, where nobody outside was asked: the payment goes from `created`
--                   to its state with the order. false: nothing has happened, or nobody can say
--
-- Of several payments (data.payments) each is attached, has its own entries in the ledger and,
-- where its frozen policy says so, its own capture; one that is not as it was read refuses all.
--
-- env.answer(script, order), where there is a request: makes the response and has it recorded with
-- the order; env.order is the order once it is there.
local begin = require "till.flow.checkout_begin"
local booking = require "till.flow.booking"
local carts = require "till.store.carts"
local checkouts = require "till.store.checkouts"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local id = require "till.util.id"
local kept = require "till.flow.payment_kept"
local orders = require "till.store.orders"
local payment = require "till.flow.payment"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"
local price = require "till.rule.price"
local promotions = require "till.store.promotions"
local records = require "till.store.records"
local reservations = require "till.store.reservations"
local sagas = require "till.store.sagas"
local script = require "till.store.script"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"
local stock = require "till.store.stock"
local time = require "till.prim.time"

local place = {}

local HOLD_MS = 60000
local BEFORE_PAID = 1 -- the step of a flow behind which its payments are authorized


local function policy_of(data, p)
  if not p then return {} end
  local policy = kept.policy(p)
  if policy then return policy end
  return payment.describe(p.provider, { currency = data.currency, country = data.head.country,
    amount = p.amount }) or {}
end


local function status_of_one(p, policy)
  local event = (not p or payments.was_captured(p)) and "capture"
    or policy.offline and "await" or "authorize"
  local status = states.begin("payment_status", event)
  if event ~= "capture" or not p or (p.refunded_amount or 0) == 0 then return status end
  return states.MACHINES.payment_status:next(status, "refund_part")
end


local PAID = { captured = true, partially_refunded = true, refunded = true }


local function status_of(paid)
  local one = paid[1] or {}
  if not paid[2] then return status_of_one(one.payment, one.policy) end
  local sums = {}
  for i, part in ipairs(paid) do sums[i] = payment_status.amounts(part.payment) end
  return payment_status.of(sums)
end


local function lines_of(data, parts)
  local frozen, out, result = {}, {}, parts.result
  local missing = reservations.missing(parts.held, data.items)
  for _, line in ipairs(result.lines) do frozen[line.id] = line end
  for i, line in ipairs(data.priced.lines) do
    out[i] = { id = id.new("line"), variant_id = line.variant_id, sku = line.sku,
      title = line.title, quantity = line.quantity, fulfilled_quantity = 0,
      backordered_quantity = missing[line.variant_id] or 0, cancelled_quantity = 0,
      returned_quantity = 0,
      unit_price = line.unit_price, subtotal = line.subtotal,
      discount_total = line.discount_total, tax_total = line.tax_total, total = line.total,
      trace = frozen[line.id] }
  end
  return out
end


local function order_of(data, parts)
  local head, priced, now = data.head, data.priced, time.rfc3339(time.now_ms())
  local status = status_of(priced.total > 0 and parts.paid or {}) -- of nothing: it is paid
  return {
    id = id.new("ord"), number = orders.UNNUMBERED, cart_id = data.cart_id,
    customer_id = head.customer_id, key_id = head.key_id, status = "placed",
    payment_status = status, paid_at = PAID[status] and now or nil,
    fulfilment_status = "unfulfilled", return_status = "none",
    email = head.email:lower(), currency = data.currency,
    subtotal = priced.subtotal, discount_total = priced.discount_total,
    shipping_total = priced.shipping_total, tax_total = priced.tax_total, total = priced.total,
    shipping_address = head.shipping_address,
    billing_address = head.billing_address or head.shipping_address,
    shipping_option_id = head.shipping_option_id, shipping_label = priced.shipping_label,
    promotions = priced.promotions, generation = data.generation, version = 1,
    placed_at = now, updated_at = now, lines = lines_of(data, parts),
    fulfilments = {}, price_trace = { given = data.given, result = parts.result,
      generation = data.generation },
  }
end


-- What is owed, and for what: the entries of a placed order sum to zero.
local function entries_of(result)
  local goods = 0
  for _, line in ipairs(result.lines) do goods = goods + line.net end
  local o = result.order
  return { { "receivable", o.grand_total }, { "sales", -goods },
    { "shipping", -result.shipping.net }, { "tax", -o.tax_total } }
end


local function events_of(order, parts)
  local aggregate = "order:" .. order.id
  local list = { { aggregate = aggregate, type = "order.placed",
    payload = { order_id = order.id } } }
  if PAID[order.payment_status] then
    list[2] = { aggregate = aggregate, type = "order.paid", payload = { order_id = order.id } }
    return list
  end
  for _, part in ipairs(parts.paid) do
    if part.policy.capture == "now" and not payments.was_captured(part.payment) then
      -- what is told of the order does not wait for its provider
      list[#list + 1] = { aggregate = "payment:" .. part.payment.id, type = "payment.capture",
        payload = { payment_id = part.payment.id, order_id = order.id } }
    end
  end
  return list
end


-- What is owed is of one payment, or of none by itself.
local function write_money(s, order, parts)
  local paid = parts.paid
  local only = paid[1] and not paid[2] and paid[1].payment
  orders.ledger(s, order.id, only and only.id, order.currency, entries_of(parts.result))
  for _, part in ipairs(paid) do
    local p = part.payment
    if payments.was_captured(p) then
      orders.ledger(s, order.id, p.id, order.currency, part.entries or {
        { "cash:" .. p.provider, p.amount }, { "receivable", -p.amount } })
    end
    if part.told then
      payments.authorize(s, p, order.id, part.told)
    else
      payments.attach(s, p, order.id, part.moves_to)
    end
  end
end


-- At once as well: a flow that was dropped, of the cart before it was changed, refuses it. Whoever
-- takes that one back takes all payments of the cart back.
local function end_flow(s, data, env)
  if env.saga then return sagas.finish(s, env.saga, env.steps) end
  return sagas.at_once(s, "checkout", data.cart_id, env.steps)
end


-- Its first statement takes the cart: who comes second waits there, and is refused.
local function write(s, data, env, parts, order)
  carts.complete(s, { id = data.cart_id, version = data.cart_version }, env.claim, order.id)
  orders.place(s, order)
  if env.answer then env.answer(s, order) end
  write_money(s, order, parts)
  records.events(s, events_of(order, parts))
  end_flow(s, data, env)
  stock.sell(s, parts.held, order.id)
  promotions.redeem(s, order)
  stock.sell_last(s, parts.held)
end


local function commit(data, env, parts)
  local s, order = script.new(), order_of(data, parts)
  write(s, data, env, parts, order)
  fault.crash "checkout.before_place"
  local row, why = s:run()
  if not row then return row, why end
  fault.crash "checkout.after_place"
  order.number, env.order = row.number, order
  return true
end


local function to_error(refusal)
  if type(refusal) == "table" then
    return err.new("promotion_refused", ("%s was used up just now"):format(refusal.promotion))
  elseif refusal == stock.AGAIN then
    return err.new("busy", "the stock of the cart is changed at the same time; try again")
  end
  -- Somebody took the cart over when the time of this completion was up, or changed it. What was
  -- begun is not taken back for that: whoever has the flow now, or resumes it, sees what became of
  -- the cart, and goes on or back.
  return err.new("conflict", "another worker completes this cart", { retryable = true })
end


-- Whoever has lost his claim holds nothing any more: the cart is an order, or its shopper's, who
-- may have changed what it is to hold.
local function hold_anew(data, env)
  return sql.transaction(function(tx)
    local ours, e = carts.is_claimed(tx, data.cart_id, env.claim)
    if not ours then return nil, e or to_error(carts.TAKEN) end
    return reservations.hold(tx, data.cart_id, data.items, time.now_ms() + HOLD_MS)
  end)
end


-- Exactly what is sold is held; where it is not any more, it is held now.
local function held_for(data, env)
  local state, e = checkouts.state(data.cart_id)
  if not state or reservations.is_held(state.held, data.items) then return state, e end
  local done, e2 = hold_anew(data, env)
  if not done then return nil, e2 end
  return checkouts.state(data.cart_id)
end


-- One that was given back, or that a bank has taken back, does not pay for anything.
local PAYS = { authorized = true, captured = true, won = true }


local function payment_of(data, payment_id, env)
  local p, e = payments.get(payment_id)
  if not p then return nil, e or err.new("internal", "the payment of the checkout is not there") end
  if p.state == "sending" or p.state == "unknown" then -- its answer was lost with an order
    reservations.extend(data.cart_id, time.now_ms() + begin.PROVIDER_MS)
    local paid, e2 = payment.settle(p, env.saga.claim)
    if not paid then return nil, e2 end
  end
  if PAYS[p.state] and not kept.is_let_go(p) then return p end
  return nil, err.new("payment_declined", ("the payment is %s; try another way to pay")
    :format(p.state))
end


local function read(data, payment_id, env)
  local p, e = payment_of(data, payment_id, env)
  if not p then return nil, e end
  local part = { payment = p, policy = policy_of(data, p) }
  if payments.was_captured(p) then
    part.entries, e = booking.to_order(p)
    if not part.entries then return nil, e end
  end
  return part
end


-- No order is placed with more or less than its total.
local function paid_with(data, env)
  local out, sum = {}, 0
  for i, payment_id in ipairs(data.payments or { data.payment_id }) do
    local part, e = read(data, payment_id, env)
    if not part then return nil, e end
    out[i], sum = part, sum + part.payment.amount
  end
  if not data.payments or sum == data.total then return out end
  return nil, err.new("payment_declined", ("the payments come to %d, and the total is %d")
    :format(sum, data.total))
end


local ATTEMPTS = 3


local function result_of(data)
  return data.result or price.calculate(data.given) -- a flow from before has none
end


-- Placed after all, or the database away: it is refused, or fails too. Given up meanwhile: nobody
-- else knows that there is money. It goes on from where a payment is looked up whatever its state.
local function give_word(heard, env)
  payment.written(heard, env)
  env.saga.step = BEFORE_PAID
end


-- The order and what its provider has just said, at the first try: what was held when it was begun
-- is held. -> true | false: the answer is written down by itself, it is placed as any | nil, err
local function with_answer(data, env)
  local heard = env.heard
  env.heard = nil
  local p, told = payment.told(heard, env)
  local done, e = commit(data, env, { held = env.state.held, result = result_of(data),
    paid = { { payment = p, policy = policy_of(data, p), told = told } } })
  if done then
    env.saga.state, env.saga.step = "done", env.steps
    return true
  elseif done == nil and e.retryable then
    give_word(heard, env)
    return nil, e
  end
  local paid, why = payment.written(heard, env)
  if not paid then return nil, why end
  return false
end


function place.run(data, env)
  if env.heard then
    local done, e = with_answer(data, env)
    if done ~= false then return done, e end
  end
  local paid, e = paid_with(data, env)
  if not paid then return nil, e end
  local parts, refusal = { paid = paid, result = result_of(data) }, nil
  for _ = 1, ATTEMPTS do
    local state, e2 = held_for(data, env)
    if not state then return nil, e2 end
    parts.held = state.held
    local done
    done, refusal = commit(data, env, parts)
    if done then
      env.saga.state, env.saga.step = "done", env.steps
      return true
    elseif done == nil then
      return nil, refusal
    elseif refusal ~= stock.AGAIN then
      break
    end
  end
  return nil, to_error(refusal)
end


function place.at_once(data, env, parts)
  local p = parts.payment
  parts.paid = { p and { payment = p, policy = policy_of(data, p), moves_to = p.state } or nil }
  local done, e = commit(data, env, parts)
  if done == nil and not e.unknown_outcome then return nil, e end
  return done or false
end


return place
