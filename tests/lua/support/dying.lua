-- support/dying - completions by a provider of which the worker dies, for specs:
--
--   ready(shop, quantity) -> cart id        it is paid for by "test", and only to be completed
--   dies_in(raw, module, name, fn)          runs fn with that function throwing
--   resumed(raw)                            what the jobs worker does, the claim being over
local t = require "till.test"

local dying = {}


function dying.ready(shop, quantity)
  local cart = shop.cart { { shop.product("TEA", 1000, 5), quantity } }
  shop.pay(cart, "test", "tok_ok")
  return cart
end


function dying.dies_in(raw, module, name, fn)
  local m = raw.require(module)
  local was = m[name]
  m[name] = function() error("killed", 0) end
  fn()
  m[name] = was
end


function dying.resumed(raw)
  raw.clock.skip_ms = raw.clock.skip_ms + 31000
  for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
    t.ok(raw.require("till.flow.checkout").resume(row))
  end
end


return dying
