-- support/again - what specs of orders that are paid anew need, beside support.several:
--
--   placed(shop [, provider, token]) -> order
--   ask(shop, raw, order, body or nil [, key]) -> status, body     staff ask for it
--   due(shop, raw, order) -> minor units, as the shopper sees it
--   begin(shop, raw, order, token, amount, provider), session(…)   status, body; its session
--   pay(shop, raw, order, session, data, key) -> status, body
--   lose(raw, order) -> payment     its provider lets go of the last-made one before it is captured
--   lost(shop, raw) -> order, payment      asked(shop, raw) -> order
--   sweep(raw), count_events(shop, type)
local several = require "tests.support.several"

local again = {}


local function gbp(n) return { amount = n, currency = "GBP" } end


again.gbp = gbp


function again.placed(shop, provider, token)
  local cart = several.cart_of(shop)
  shop.must(shop.pay(cart, provider or "test", token or (not provider and "tok_ok" or nil)))
  return shop.must(shop.complete(cart)).order
end


function again.ask(shop, raw, order, body, key)
  body = body or {}
  body.reason = body.reason or "your bank let go of it"
  return raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/payment-request", body,
    key or shop.key())
end


function again.seen(shop, raw, order)
  return shop.must(raw.store("GET", "/store/v1/orders/" .. order.id)).order
end


function again.due(shop, raw, order)
  return (again.seen(shop, raw, order).amount_due or gbp(0)).amount
end


function again.begin(shop, raw, order, token, amount, provider)
  return raw.store("POST", "/store/v1/orders/" .. order.id .. "/payment-sessions",
    { provider = provider or "test", data = { token = token or "tok_ok" },
      amount = amount and gbp(amount) or nil }, shop.key())
end


function again.session(shop, raw, ...)
  return shop.must(again.begin(shop, raw, ...)).payment_session
end


function again.pay(shop, raw, order, one, data, key)
  return raw.store("POST", ("/store/v1/orders/%s/payment-sessions/%s/pay"):format(order.id, one.id),
    { data = data }, key or shop.key())
end


function again.lose(raw, order)
  raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
  local p = raw.require("till.store.payments").of_order(order.id)[1]
  raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided' WHERE idem_key = ?", p.id)
  assert(raw.sql.transaction(function(tx)
    return raw.require("till.flow.booking").book(tx, p.id, { kind = "voided", reason = "expired",
      actor = "provider:test" })
  end))
  return p
end


function again.lost(shop, raw)
  local order = again.placed(shop)
  return order, again.lose(raw, order)
end


function again.asked(shop, raw)
  local order = again.lost(shop, raw)
  shop.must(again.ask(shop, raw, order))
  return order
end


function again.sweep(raw)
  local n, e = raw.require("till.flow.sweep").run()
  if not n then error(e) end
  return n
end


function again.count_events(shop, kind)
  return shop.count("outbox", "type = '" .. kind .. "'")
end


return again
