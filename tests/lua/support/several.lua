-- support/several - a shop for specs of several payments of a cart: support.stock, and of a cart of
-- two TEA at 10.00 with shipping, of several.TOTAL:
--
--   session(shop, raw, cart, amount or nil [, token, provider]) -> status, body
--   sessions(raw, cart) -> { amounts…, left = }, sessions
--   drop(raw, cart, payment) -> status, body
--   cart_of(shop [, sku]), parts_of(shop, raw, amount or false, token, …) -> cart id
--   states(raw), at_provider(raw) -> states of all payments, oldest first
--   sums(raw) -> { account -> what is on it }
--   of_order(shop, raw, order), later(raw, minutes)
local t = require "till.test"

local several = { TOTAL = 2399 }


local function gbp(n) return { amount = n, currency = "GBP" } end


function several.session(shop, raw, cart, amount, token, provider)
  return raw.store("POST", "/store/v1/carts/" .. cart .. "/payment-sessions", {
    provider = provider or "test", amount = type(amount) == "number" and gbp(amount) or amount,
    data = { token = token or "tok_ok" } }, shop.key())
end


function several.sessions(raw, cart)
  local _, body = raw.store("GET", "/store/v1/carts/" .. cart .. "/payment-sessions")
  local out = { left = body.left.amount }
  for i, one in ipairs(body.payment_sessions) do out[i] = one.amount.amount end
  return out, body.payment_sessions
end


function several.drop(raw, cart, payment)
  return raw.store("DELETE", "/store/v1/carts/" .. cart .. "/payment-sessions/" .. payment)
end


function several.cart_of(shop, sku)
  return shop.cart { { shop.product(sku or "TEA", 1000, 5), 2 } }
end


-- amounts and tokens, in turn
function several.parts_of(shop, raw, ...)
  local cart, given = several.cart_of(shop), { ... }
  for i = 1, #given, 2 do
    t.equal((several.session(shop, raw, cart, given[i] or nil, given[i + 1])), 201)
  end
  return cart
end


function several.states(raw)
  local out = {}
  for i, row in ipairs(raw.sql.query "SELECT state FROM payments ORDER BY id") do
    out[i] = row.state
  end
  return out
end


function several.at_provider(raw)
  local out = {}
  for i, row in ipairs(raw.sql.query("SELECT state FROM payment_test_attempts"
    .. " ORDER BY idem_key")) do
    out[i] = row.state
  end
  return out
end


function several.sums(raw)
  local out = {}
  for _, row in ipairs(raw.sql.query("SELECT account, CAST(SUM(amount) AS SIGNED) AS n"
    .. " FROM ledger_entries GROUP BY account")) do
    if row.n ~= 0 then out[row.account] = row.n end
  end
  return out
end


function several.of_order(shop, raw, order)
  return shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order
end


function several.later(raw, minutes)
  raw.clock.skip_ms = raw.clock.skip_ms + minutes * 60000
end


return several
