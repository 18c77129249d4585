local t = require "till.test"

local ASK = { payment_id = "pay_1", amount = 100, currency = "GBP", idem_key = "k" }


t.plugin("payment-manual", { currencies = { "GBP" } }, function(plugin)
  t.it("fills in its label", function()
    t.same(plugin.config, { label = "Bank transfer", currencies = { "GBP" } })
  end)

  t.it("is offered in its currencies, as a payment that is awaited", function()
    t.same(plugin:call("payment.describe", { currency = "GBP", country = "GB", amount = 1 }),
      { label = "Bank transfer", offline = true })
    t.equal(plugin:call("payment.describe", { currency = "EUR", country = "GB" }), nil)
  end)

  t.it("is offered in its countries, everywhere where none is named", function()
    local british = plugin:with { label = "Cheque", countries = { "GB" } }
    t.equal(british:call("payment.describe", { currency = "EUR", country = "GB" }).label, "Cheque")
    t.equal(british:call("payment.describe", { currency = "EUR", country = "FR" }), nil)
    t.ok(plugin:with {}:call("payment.describe", { currency = "EUR", country = "FR" }))
  end)

  t.table({
    { why = "authorizes", hook = "payment.authorize", outcome = "authorized" },
    { why = "looks up what it authorized", hook = "payment.lookup", outcome = "authorized" },
    { why = "captures", hook = "payment.capture", outcome = "captured" },
    { why = "voids", hook = "payment.void", outcome = "voided" },
    { why = "refunds", hook = "payment.refund", outcome = "refunded" },
  }, function(case)
    t.same(plugin:call(case.hook, ASK), { outcome = case.outcome, provider_ref = "pay_1" })
  end)

  t.table({
    { why = "refuses an empty label", given = { label = "" },
      message = "config.label: at least 1 characters" },
    { why = "refuses currencies that are no list", given = { currencies = "GBP" },
      message = "config.currencies: must be a list" },
    { why = "refuses an unknown option", given = { lable = "x" },
      message = "config.lable: there is no such option; was label meant?" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
