local t = require "till.test"


local function pay(token, more)
  local out = { payment_id = "pay_1", idem_key = "pay_1", amount = 1000, currency = "GBP",
    data = { token = token } }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end


local function about(suffix)
  return pay(nil, { idem_key = "pay_1-" .. suffix })
end


t.plugin("payment-test", { late_ms = 5, silent_ms = 5 }, function(plugin)
  local function on_empty(fn)
    return function()
      t.empty_shop()
      fn()
    end
  end

  local function outcome(hook, payment)
    local answer, failure = plugin:call(hook, payment)
    if not answer then error(failure) end
    return answer.outcome
  end

  t.it("fills in how late it is", function()
    t.same(plugin:with {}.config, { late_ms = 1500, silent_ms = 60000, capture = "now" })
  end)

  t.it("is offered in its countries, and wants a token", function()
    t.same(plugin:call("payment.describe", { country = "GB", currency = "GBP" }),
      { label = "Test card", capture = "now", fields = { "token" } })
    local british = plugin:with { enabled_for = { "GB" } }
    t.equal(british:call("payment.describe", { country = "FR", currency = "EUR" }), nil)
    t.ok(british:call("payment.describe", { country = "GB", currency = "EUR" }))
  end)

  t.it("answers the same attempt the same way, however often it is sent", on_empty(function()
    local first = plugin:call("payment.authorize", pay "tok_ok")
    t.equal(first.outcome, "authorized")
    t.same(plugin:call("payment.authorize", pay "tok_ok"), first)
  end))

  t.it("declines, and says why", on_empty(function()
    local answer = plugin:call("payment.authorize", pay "tok_declined")
    t.same({ answer.outcome, answer.reason }, { "declined", "the card was declined" })
    answer = plugin:call("payment.authorize", pay("tok_what", { idem_key = "pay_2" }))
    t.same(answer, { outcome = "declined", reason = "there is no test token tok_what" })
  end))

  t.it("knows of a request that it never answered", on_empty(function()
    t.equal(outcome("payment.authorize", pay "tok_timeout"), "unknown")
    t.equal(outcome("payment.lookup", pay()), "authorized")
  end))

  t.it("knows nothing of a request that was lost", on_empty(function()
    t.equal(outcome("payment.authorize", pay "tok_unknown_lost"), "unknown")
    t.equal(outcome("payment.lookup", pay()), "not_found")
  end))

  t.it("answers late", on_empty(function()
    t.equal(outcome("payment.authorize", pay "tok_late"), "authorized")
  end))

  t.it("is waited for no longer than the budget, and has the money all the same",
    on_empty(function()
      local slow = plugin:with { silent_ms = 60000 }
      t.equal(slow:call_within(500, "payment.authorize", pay "tok_timeout").outcome, "unknown")
      t.equal(outcome("payment.lookup", pay()), "authorized")
    end))

  t.it("waits for the shopper until completion says so", on_empty(function()
    local answer = plugin:call("payment.authorize", pay "tok_requires_action")
    t.same({ answer.outcome, answer.action.type }, { "requires_action", "redirect" })
    t.equal(outcome("payment.authorize", pay("tok_requires_action",
      { data = { token = "tok_requires_action", action_done = true } })), "authorized")
  end))

  t.table({
    { why = "hears by webhook that the shopper agreed", approved = "true", now = "authorized" },
    { why = "hears by webhook that the shopper refused", approved = "false", now = "declined" },
  }, function(case)
    on_empty(function()
      local ref = plugin:call("payment.authorize", pay "tok_requires_action").provider_ref
      t.same(plugin:call("webhook.receive", { headers = {},
        body = ('{"provider_ref":"%s","approved":%s}'):format(ref, case.approved) }),
        { status = 200 })
      t.equal(outcome("payment.lookup", pay()), case.now)
    end)()
  end)

  t.it("takes no webhook that it cannot read", function()
    for _, body in ipairs { "", "[]", "{}", '{"provider_ref":7}' } do
      t.equal(plugin:call("webhook.receive", { headers = {}, body = body }).status, 400, body)
    end
  end)

  t.it("captures once, and refunds only what was captured", on_empty(function()
    plugin:call("payment.authorize", pay "tok_ok")
    t.equal(outcome("payment.refund", about "refund"), "declined")
    t.equal(outcome("payment.capture", about "capture"), "captured")
    t.equal(outcome("payment.capture", about "capture"), "captured")
    t.equal(outcome("payment.void", about "void"), "declined")
    t.equal(outcome("payment.refund", about "refund"), "refunded")
  end))

  t.it("voids what was not captured, also while the shopper is waited for", on_empty(function()
    plugin:call("payment.authorize", pay "tok_ok")
    t.equal(outcome("payment.void", about "void"), "voided")
    local other = { idem_key = "pay_2", amount = 1, currency = "GBP" }
    plugin:call("payment.authorize", pay("tok_requires_action", other))
    t.equal(outcome("payment.void", { idem_key = "pay_2-void" }), "voided")
  end))

  t.it("declines a capture that it was told to decline", on_empty(function()
    plugin:call("payment.authorize", pay "tok_capture_declined")
    local answer = plugin:call("payment.capture", about "capture")
    t.same({ answer.outcome, answer.reason }, { "declined", "the card expired" })
  end))

  t.table({
    { why = "refuses an option that it does not have", given = { latems = 1 },
      message = "config.latems: there is no such option; was late_ms meant?" },
    { why = "refuses to be later than a minute", given = { late_ms = 60001 },
      message = "config.late_ms: at most 60000" },
    { why = "refuses countries that are no list", given = { enabled_for = "GB" },
      message = "config.enabled_for: must be a list" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
