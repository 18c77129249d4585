local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")


t.describe("payment-manual", function()
  local handler = plugin.handler("payment-manual")
  local config = plugin.config("payment-manual", { currencies = { "GBP" } })

  t.it("is offered in its currencies, as a payment that is awaited", function()
    t.same(handler["payment.describe"](config, { currency = "GBP", country = "GB", amount = 1 }),
      { label = "Bank transfer", offline = true })
    t.equal(handler["payment.describe"](config, { currency = "EUR", country = "GB" }), nil)
  end)

  t.it("answers every question about money at once", function()
    local ask = { payment_id = "pay_1", amount = 100, currency = "GBP", idem_key = "k" }
    for hook, outcome in pairs { ["payment.authorize"] = "authorized",
      ["payment.lookup"] = "authorized", ["payment.capture"] = "captured",
      ["payment.void"] = "voided", ["payment.refund"] = "refunded" } do
      t.same(handler[hook](config, ask), { outcome = outcome, provider_ref = "pay_1" })
    end
  end)

  t.it("refuses an empty label", function()
    t.equal(plugin.refusal("payment-manual", { label = "" }),
      "config.label: at least 1 characters")
  end)
end)
