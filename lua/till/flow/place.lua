-- till/flow/place - the one transaction that makes an order: order, lines with their frozen price,
-- redemptions, ledger, events, the cart's end, the idempotency record, and stock last: its rows are
-- the ones that others wait for.
--
--   place.run(data, env) -> true | nil, err       data as till.flow.checkout froze it
local carts = require "till.store.carts"
local err = require "till.util.err"
local id = require "till.util.id"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local price = require "till.rule.price"
local promotions = require "till.store.promotions"
local saga = require "till.flow.saga"
local stock = require "till.store.stock"
local time = require "till.prim.time"

local place = {}


local function payment_of(data)
  if not data.payment_id then return false end
  local p, e = payments.get(data.payment_id)
  if not p then return nil, e or err.new("internal", "the payment of the checkout is not there") end
  return p
end


local function policy_of(data, p)
  if not p then return {} end
  return payment.describe(p.provider, { currency = data.currency, country = data.head.country,
    amount = p.amount }) or {}
end


local function status_of(p, policy)
  if not p or p.state == "captured" then return "captured" end
  return policy.offline and "awaiting" or "authorized"
end


local function lines_of(data, result)
  local frozen, out = {}, {}
  for _, line in ipairs(result.lines) do frozen[line.id] = line end
  for i, line in ipairs(data.priced.lines) do
    out[i] = { id = id.new("line"), variant_id = line.variant_id, sku = line.sku,
      title = line.title, quantity = line.quantity, fulfilled_quantity = 0,
      unit_price = line.unit_price, subtotal = line.subtotal,
      discount_total = line.discount_total, tax_total = line.tax_total, total = line.total,
      trace = frozen[line.id] }
  end
  return out
end


local function order_of(data, result, p, policy)
  local head, priced = data.head, data.priced
  return {
    id = data.order_id, cart_id = data.cart_id, customer_id = head.customer_id,
    key_id = head.key_id, status = "placed", payment_status = status_of(p, policy),
    fulfilment_status = "unfulfilled", email = head.email:lower(), currency = data.currency,
    subtotal = priced.subtotal, discount_total = priced.discount_total,
    shipping_total = priced.shipping_total, tax_total = priced.tax_total, total = priced.total,
    shipping_address = head.shipping_address,
    billing_address = head.billing_address or head.shipping_address,
    shipping_option_id = head.shipping_option_id, shipping_label = priced.shipping_label,
    promotions = priced.promotions, generation = data.generation, version = 1,
    placed_at = time.rfc3339(time.now_ms()), lines = lines_of(data, result), fulfilments = {},
    price_trace = { given = data.given, result = result, generation = data.generation },
  }
end


local function redeem(tx, order)
  for _, promotion in ipairs(order.promotions) do
    if promotion.id and promotion.amount > 0 then
      local ok, e = promotions.redeem(tx, promotion.id, order.id, order.email, promotion.amount)
      if ok == nil then return nil, e end
      if not ok then
        return nil, err.new("promotion_refused", ("%s was used up just now"):format(promotion.name))
      end
    end
  end
  return true
end


--- What is owed, and for what: the entries of a placed order sum to zero.
function place.ledger(result, sign)
  local goods = 0
  for _, line in ipairs(result.lines) do goods = goods + line.net end
  local o = result.order
  return { { "receivable", sign * o.grand_total }, { "sales", -sign * goods },
    { "shipping", -sign * result.shipping.net }, { "tax", -sign * o.tax_total } }
end


local function skus_of(order)
  local out = {}
  for i, line in ipairs(order.lines) do out[i] = line.sku end
  return out
end


local function events(tx, order, p, policy)
  local aggregate = "order:" .. order.id
  local list = {
    { aggregate = aggregate, type = "order.placed", payload = { order_id = order.id } },
    { aggregate = "stock:" .. order.id, type = "stock.changed",
      payload = { skus = skus_of(order) } },
  }
  if order.payment_status == "captured" then
    list[#list + 1] = { aggregate = aggregate, type = "order.paid",
      payload = { order_id = order.id } }
  elseif p and policy.capture == "now" then
    list[#list + 1] = { aggregate = aggregate, type = "payment.capture",
      payload = { payment_id = p.id, order_id = order.id } }
  end
  return outbox.append(tx, list)
end


local function money(tx, order, p, result)
  local ok, e = orders.ledger(tx, order.id, p and p.id, order.currency, place.ledger(result, 1))
  if not ok or not p then return ok, e end
  if p.state == "captured" then
    ok, e = orders.ledger(tx, order.id, p.id, order.currency, {
      { "cash:" .. p.provider, p.amount }, { "receivable", -p.amount } })
    if not ok then return nil, e end
  end
  return payments.attach(tx, p.id, order.id)
end


local function write(tx, order, p, policy, result)
  local ok, e = orders.insert(tx, order)
  if ok then ok, e = redeem(tx, order) end
  if ok then ok, e = money(tx, order, p, result) end
  if ok then
    ok, e = orders.event(tx, order.id, "placed", order.customer_id or "shopper",
      { number = order.number, payment_status = order.payment_status })
  end
  if ok then ok, e = events(tx, order, p, policy) end
  return ok, e
end


local function in_transaction(tx, data, env, parts)
  local order = order_of(data, parts.result, parts.payment, parts.policy)
  local ended, e = carts.complete(tx, data.cart_id, env.claim, order.id)
  if ended == nil then return nil, e end
  if not ended then return nil, err.new("conflict", "another worker completes this cart") end
  local ok, e2 = write(tx, order, parts.payment, parts.policy, parts.result)
  if ok then ok, e2 = saga.finish(tx, env) end
  if ok then ok, e2 = stock.sell(tx, data.cart_id, order.id, data.items) end
  if not ok then return nil, e2 end
  return order
end


function place.run(data, env)
  local p, e = payment_of(data)
  if p == nil then return nil, e end
  local parts = { payment = p, policy = policy_of(data, p), result = price.calculate(data.given) }
  local order, e2 = env.transaction(function(tx)
    data.order_id = id.new("ord")
    return in_transaction(tx, data, env, parts)
  end)
  if not order then
    -- Rolled back: the row in memory must say again what the table says.
    env.saga.state, env.saga.step = "running", 2
    return nil, e2
  end
  env.order = env.order or order
  return true
end


return place
