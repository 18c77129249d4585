-- Each COMMIT of what shoppers and staff do, lost in turn, and its answer alone: asked again under
-- the same key it comes to what it comes to undisturbed, once.
local commits = require "tests.support.commits"
local json = require "till.prim.json"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local KEY = { ["idempotency-key"] = "the-key" }

-- What is to be the same in the end, but for ids and times.
local STATE = {
  "SELECT status, payment_status, fulfilment_status, return_status, total FROM orders",
  "SELECT quantity, fulfilled_quantity, cancelled_quantity, returned_quantity FROM order_lines"
    .. " ORDER BY position",
  "SELECT state, refunded_amount, released_amount, capture_amount FROM payments ORDER BY id",
  "SELECT state, captured_amount FROM payment_test_attempts ORDER BY state",
  "SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n FROM payment_test_refunds",
  "SELECT account, CAST(SUM(amount) AS SIGNED) AS n FROM ledger_entries GROUP BY account"
    .. " ORDER BY account",
  "SELECT on_hand, reserved FROM stock ORDER BY variant_id",
  "SELECT type, CAST(SUM(quantity) AS SIGNED) AS n FROM stock_events WHERE type <> 'extended'"
    .. " GROUP BY type ORDER BY type",
  "SELECT type, COUNT(*) AS n FROM outbox WHERE type LIKE 'order.%' GROUP BY type ORDER BY type",
  "SELECT used FROM promotions", "SELECT COUNT(*) AS n FROM promotion_redemptions",
  "SELECT kind, amount, state FROM cancellations ORDER BY kind, amount",
}


local function state_of(raw)
  local out = {}
  for i, text in ipairs(STATE) do out[i] = json.encode(assert(raw.sql.query(text))) end
  return out
end


-- What a jobs worker does within four minutes.
local function settle(shop, raw)
  for _ = 1, 6 do
    raw.clock.skip_ms = raw.clock.skip_ms + 40000
    for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
      raw.require(row.name == "checkout" and "till.flow.checkout" or "till.flow.cancellation_flow")
        .resume(row)
    end
    shop.work()
  end
end


local function cart_of(shop, raw, provider)
  local tea, mug = shop.product("TEA", 1000, 5), shop.product("MUG", 500, 5)
  shop.promotion { code = "TEN", name = "ten", usage_limit = 2, per_customer_limit = 1,
    terms = { level = "order", type = "percent", value = "10" } }
  local cart = shop.cart { { tea, 2 }, { mug, 1 } }
  shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/promotions", { code = "TEN" }))
  if provider then shop.must(shop.pay(cart, provider, "tok_ok")) end
  return cart
end


local function ordered(shop, raw, is_captured)
  local order = shop.must(shop.complete(cart_of(shop, raw, "test"))).order
  if is_captured then
    shop.work()
  else
    raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
  end
  return shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order
end


local function one_of(order)
  return { lines = { { line_id = order.lines[1].id, quantity = 1 } } }
end


local function complete(shop, _, cart) return shop.complete(cart, KEY) end


-- { what comes before, what is asked for }
local ASKED = {
  ["a payment session"] = { cart_of, function(_, raw, cart)
    return raw.store("POST", "/store/v1/carts/" .. cart .. "/payment-sessions",
      { provider = "test", data = { token = "tok_ok" } }, KEY)
  end },
  ["a completion without a provider"] = { function(shop, raw)
    return cart_of(shop, raw, "manual")
  end, complete },
  ["a completion with one"] = { function(shop, raw) return cart_of(shop, raw, "test") end,
    complete, may_be_nothing = true },
  ["a cancellation in part"] = { function(shop, raw) return ordered(shop, raw, true) end,
    function(_, raw, order)
      return raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", one_of(order), KEY)
    end },
  ["a return"] = { function(shop, raw)
    local order = ordered(shop, raw, true)
    shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/fulfilments", {}, shop.key()))
    return order
  end, function(_, raw, order)
    return raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/returns", one_of(order), KEY)
  end },
  ["a capture in part"] = { ordered, function(_, raw, order)
    return raw.admin("POST", "/admin/v1/payments/" .. order.payments[1].id .. "/capture",
      { amount = { amount = 700, currency = "GBP" } }, KEY)
  end },
}


local TRIES = 4


-- -> the state in the end, how many COMMITs the first request had, the last answer
local function run(asked, at, what)
  local state, n, body
  with_shop(function(shop, raw)
    local about = asked[1](shop, raw)
    local status
    n, status, body = commits.during(raw.sql, function() return asked[2](shop, raw, about) end, at,
      what)
    for _ = 1, TRIES do
      if status < 500 and status ~= 202 and status ~= 409 then break end
      settle(shop, raw)
      status, body = asked[2](shop, raw, about)
    end
    settle(shop, raw)
    state = state_of(raw)
  end)()
  return state, n, body
end


local NONE = json.encode {}


-- Of a completion whose beginning was lost nobody was asked for money: it is taken back, and the
-- shopper is told, or told to wait for the end of the request before.
local function is_nothing(state, body)
  return state[1] == NONE and state[4] == NONE and state[6] == NONE
    and state[10] == '[{"used":0}]'
    and (body.type == "cart" or body.code == "idempotency_in_flight")
end


t.describe("of a COMMIT that is lost, or its answer,", function()
  for name, asked in pairs(ASKED) do
    t.it("nothing comes twice or is left half: " .. name, function()
      local wanted, n = run(asked)
      t.ok(n > 0, "it commits")
      for at = 1, n do
        for _, what in ipairs { "answer", "commit" } do
          local state, _, body = run(asked, at, what)
          if not (asked.may_be_nothing and is_nothing(state, body)) then
            t.same(state, wanted, ("the %s of COMMIT %d of %d"):format(what, at, n))
          end
        end
      end
    end)
  end
end)
