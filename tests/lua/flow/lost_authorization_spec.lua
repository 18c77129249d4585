-- An order that was sent, and whose authorization its provider has let go of.
local t = require "till.test"
local kit = require "tests.support.captures"
local several = require "tests.support.several"


local function send(s)
  s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/fulfilments", {},
    s.shop.key()))
end


local function lose(s)
  local lost = s.raw.require "till.flow.lost_authorization"
  local event = { kind = "voided", actor = "provider:test", reason = "expired" }
  local ok, e = s.raw.sql.transaction(function(tx)
    local p, e = s.raw.require("till.flow.booking").book(tx, s.id, event)
    if not p then return nil, e end
    return lost.raise(tx, p, event)
  end)
  t.ok(ok, tostring(e))
end


local function take_back(s, quantity)
  return s.raw.admin("POST", "/admin/v1/orders/" .. s.order.id .. "/returns",
    { lines = { { line_id = s.now().lines[1].id, quantity = quantity } } }, s.shop.key())
end


local function open_alerts(s)
  t.ok(s.raw.require("till.flow.authorizations").run())
  return s.shop.count("alerts", "kind = 'payment.lost_authorization' AND state = 'open'")
end


t.describe("an order that was sent and is not paid, for its authorization was lost", function()
  for _, case in ipairs { { "after that", send, lose }, { "before", lose, send } } do
    t.it("is not completed until nothing of it is owed: lost " .. case[1], kit.with_order(
      function(s)
        case[2](s)
        case[3](s)
        local now = s.now()
        t.same({ now.status, now.payment_status, now.fulfilment_status },
          { "placed", "voided", "fulfilled" })
        t.same({ several.sums(s.raw).receivable, open_alerts(s) }, { s.total, 1 })
        s.shop.must(take_back(s, 1))
        t.same({ s.now().status, open_alerts(s) }, { "placed", 1 })
        s.shop.must(take_back(s, 2))
        t.same({ s.now().status, several.sums(s.raw).receivable, open_alerts(s) },
          { "completed", nil, 0 })
      end))
  end
end)
