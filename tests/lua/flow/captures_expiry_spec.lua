-- A part that has no outcome when the authorization's time is over.
local t = require "till.test"
local kit = require "tests.support.captures"


-- Its answer and the look-ups are lost; then the authorization is looked at.
local function lost(is_final)
  return kit.with_order(function(s)
    local capabilities = s.raw.require "till.flow.capabilities"
    local of = capabilities.of
    capabilities.of = function(provider)
      local out = { authorization_days = 7 }
      for name, value in pairs(of(provider)) do out[name] = value end
      return out
    end
    local mends = { kit.instead(s, "payment.capture", function(_, go_on)
      go_on()
      return { outcome = "unknown" }
    end), kit.instead(s, "payment.lookup", function() return { outcome = "unknown" } end) }
    t.equal((s.pay(1000, { final = is_final })), 503)
    for i = #mends, 1, -1 do mends[i]() end
    s.raw.sql.exec("UPDATE payments SET authorization_expires_at = NOW(3) - INTERVAL 1 HOUR,"
      .. " authorization_look_at = NOW(3) - INTERVAL 1 HOUR")
    t.ok(s.raw.require("till.flow.authorizations").run())
    s.raw.sql.exec "UPDATE outbox SET available_at = '2020-01-01'"
    s.shop.work()
    capabilities.of = of
    t.same({ kit.cash(s), kit.at_provider(s).n }, { 1000, 1000 })
    t.equal(s.shop.count("captures", "state = 'done'"), 1)
    t.equal(s.shop.count("payment_events", "kind = 'captured'"), 1)
  end)
end


t.describe("a part without an outcome as the authorization ends", function()
  t.it("is booked once, by its own flow", lost(false))
  t.it("is so where it is the last", lost(true))
end)
