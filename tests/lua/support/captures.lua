-- support/captures - an order whose money is held, for specs of capturing it in parts.
--
--   captures.with_order(fn [, policy [, part]]) -> a test     `part` of it is a payment of its own.
--                                  fn(s), s { raw, shop, order, total, id of the
--                                  payment, payment(), now() -> the order, pay(amount [, more,
--                                  key]) -> status, body: of a capture }
--   captures.cash(s) -> what the ledger has of it; at_provider(s) -> { state, n }
--   captures.outbox(s, type) -> how many events of that type were written
--   captures.book(s, event)    what its provider tells
--   captures.as(s, capability, value)    what the provider can do from now on
--   captures.instead(s, hook, fn) -> mend    its answers come from fn(request, go_on)
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local several = require "tests.support.several"

local captures = {}


-- An order of three whose money is held. pay(amount [, more, key]) captures of it.
function captures.with_order(fn, policy, part)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local dispatch = raw.require "till.plugin.dispatch"
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, ...)
        local answer, e = was(name, hook, ...)
        if hook == "payment.describe" and answer then answer.capture = policy or "later" end
        return answer, e
      end
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      if part then shop.must(several.session(shop, raw, cart, part)) end
      shop.must(shop.pay(cart, "test", "tok_ok"))
      local order = shop.must(shop.complete(cart)).order
      shop.work()
      local function payment()
        return shop.must(raw.admin("GET", "/admin/v1/payments")).data[1]
      end
      local id = payment().id
      local function pay(amount, more, key)
        local body = more or {}
        body.amount = amount and { amount = amount, currency = "GBP" } or nil
        return raw.admin("POST", "/admin/v1/payments/" .. id .. "/capture", body,
          key or shop.key())
      end
      fn { raw = raw, shop = shop, pay = pay, payment = payment, dispatch = dispatch,
        order = order, total = order.total.amount, cart = cart, id = id,
        now = function()
          return shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id)).order
        end }
    end)
  end
end


function captures.cash(s)
  local row = s.raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
    .. " FROM ledger_entries WHERE account = 'cash:test'")
  return row.n
end


function captures.at_provider(s)
  return s.raw.sql.one("SELECT state, captured_amount AS n FROM payment_test_attempts")
end


function captures.outbox(s, event)
  return s.shop.count("outbox", "type = '" .. event .. "'")
end


function captures.book(s, event)
  local booking = s.raw.require "till.flow.booking"
  assert(s.raw.sql.transaction(function(tx) return assert(booking.book(tx, s.id, event)) end))
end


function captures.as(s, name, value)
  local capabilities = s.raw.require "till.flow.capabilities"
  local can = capabilities.can
  capabilities.can = function(provider, what)
    if what == name then return value end
    return can(provider, what)
  end
end


function captures.instead(s, hook, fn)
  local was = s.dispatch.plugin
  s.dispatch.plugin = function(name, what, request)
    local function go_on() return was(name, what, request) end
    if what ~= hook then return go_on() end
    return fn(request, go_on)
  end
  return function() s.dispatch.plugin = was end
end


return captures
