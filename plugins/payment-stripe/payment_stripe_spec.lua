-- What needs no Stripe. Everything else is tried against its double: tests/flow/payment_stripe.
local t = require "till.test"
local crypto = require "till.prim.crypto"
local time = require "till.prim.time"

-- nothing listens there: every request is one that never arrived
local OPTIONS = { secret_key = "sk_test_x", webhook_secret = "whsec_new",
  webhook_secret_old = "whsec_old", return_url = "https://shop.example/back?cart={cart}",
  base_url = "http://127.0.0.1:1", timeout_ms = 1000 }


local function pay(more)
  local out = { payment_id = "pay_1", idem_key = "pay_1", order_ref = "cart_1", amount = 1000,
    currency = "GBP", data = { payment_method = "pm_card_visa" } }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end


local function with(more)
  local out = {}
  for name, value in pairs(OPTIONS) do out[name] = value end
  for name, value in pairs(more) do out[name] = value end
  return out
end


t.plugin("payment-stripe", OPTIONS, function(plugin)
  t.it("is offered for what Stripe can count", function()
    local offer = { label = "Card", capture = "now", fields = { "payment_method" } }
    for currency, amount in pairs { GBP = 30, GYD = 100, JPY = 500, KWD = 1230, MGA = 500 } do
      t.same(plugin:call("payment.describe", { currency = currency, amount = amount }), offer,
        currency)
    end
    for currency, amount in pairs { GBP = 0, KWD = 1234, MGA = 550, XYZ = 100 } do
      t.equal(plugin:call("payment.describe", { currency = currency, amount = amount }), nil,
        currency)
    end
    for currency, amount in pairs { GBP = 29, JPY = 49, GYD = 100000000, EUR = -500 } do
      local about = { currency = currency, amount = amount }
      t.equal(plugin:call("payment.describe", about), nil, currency)
      local answer = plugin:call("payment.authorize", pay(about))
      t.equal(answer.outcome, "declined")
      t.ok(answer.reason:find("Stripe does not take", 1, true), answer.reason)
    end
    local british = plugin:with(with { currencies = { "GBP" } })
    t.equal(british:call("payment.describe", { currency = "EUR", amount = 100 }), nil)
  end)

  t.it("says what it can do", function()
    local can = plugin:call "payment.capabilities"
    t.equal(can.partial_capture, true)
    t.equal(can.multiple_captures, false)
    t.equal(can.authorization_days, 7)
    t.equal(can.min_amount.GBP, 30)
    local at_once = plugin:with(with { capture_method = "automatic", currencies = { "KWD" } })
    can = at_once:call "payment.capabilities"
    t.equal(can.partial_capture, false)
    t.same(can.max_amount, { KWD = 99999999 })
    t.same(can.min_amount, { KWD = 1 })
    t.equal(at_once:call("payment.authorize", pay()).reason, "this currency is not taken")
  end)

  t.it("asks for nothing without a payment method of Stripe", function()
    for _, data in ipairs { {}, { payment_method = "4242424242424242" }, { payment_method = 7 },
      { payment_method = "pm_x/../refunds" }, { payment_method = "pm_" .. ("x"):rep(300) } } do
      local answer = plugin:call("payment.authorize", pay { data = data })
      t.equal(answer.outcome, "declined")
      t.ok(answer.reason:find("payment_method", 1, true), answer.reason)
    end
  end)

  t.it("has failed where Stripe cannot have heard of it, and knows nothing otherwise", function()
    t.equal(plugin:call("payment.authorize", pay()).outcome, "failed")
    for _, hook in ipairs { "lookup", "capture", "void", "refund" } do
      t.equal(plugin:call("payment." .. hook, pay { provider_ref = "pi_1" }).outcome, "unknown")
    end
    t.equal(plugin:call("payment.lookup", pay()).outcome, "unknown")
  end)

  local function judged(status, more)
    local seen = { object = "payment_intent", id = "pi_1", status = status, amount = 1000,
      currency = "gbp", metadata = { payment = "pay_1", cart = "cart_1" } }
    for name, value in pairs(more or {}) do seen[name] = value end
    return require("plugins.payment-stripe.outcome").judge(OPTIONS, seen, pay())
  end

  t.it("tells what Stripe is still at from what it did not answer", function()
    t.same(judged "processing", { outcome = "unknown", provider_ref = "pi_1", answered = true })
    t.equal(judged("invented").answered, nil)
  end)

  t.it("tells how much was captured, also where somebody did it by hand", function()
    local function charge(amount, refunded)
      return { amount_received = amount, latest_charge = { captured = true, amount = 1000,
        amount_captured = amount, amount_refunded = 1000 - amount + (refunded or 0) } }
    end
    local by_hand = judged("succeeded", charge(400))
    t.same({ by_hand.outcome, by_hand.captured_amount, by_hand.refunded_amount },
      { "captured", 400, 0 })
    t.equal(judged("succeeded", charge(1000)).captured_amount, 1000)
    local back = judged("succeeded", charge(400, 400))
    t.same({ back.outcome, back.captured_amount }, { "refunded", 400 })
  end)

  t.it("tells until when the money is held, and why it is not any more", function()
    local function ends(card)
      return judged("requires_capture", { amount_capturable = 1000, latest_charge = {
        created = 1700000000, payment_method_details = { type = "card", card = card } } })
        .expires_at
    end
    t.equal(ends {}, time.rfc3339((1700000000 + 7 * 86400) * 1000))
    t.equal(ends { capture_before = 1700000060 }, time.rfc3339(1700000060000))
    t.equal(judged("canceled", { cancellation_reason = "automatic" }).reason, "expired")
    t.equal(judged("canceled", { cancellation_reason = "duplicate" }).reason, "canceled at Stripe")
    t.equal(judged("canceled").reason, nil)
  end)

  -- Answers of Stripe to a confirmation, with everything else going well.
  local function confirmed(answer)
    local api, made = require "plugins.payment-stripe.api", { object = "payment_intent",
      id = "pi_1", status = "requires_payment_method", amount = 1000, currency = "gbp",
      metadata = { payment = "pay_1", cart = "cart_1" } }
    local request = api.request
    api.request = function(_, _, path)
      if path:find "/confirm$" then return answer end
      if path:find "/cancel$" then made.status = "canceled" end
      return { ok = made }
    end
    local out = require("plugins.payment-stripe.handler")["payment.authorize"](OPTIONS, pay())
    api.request = request
    return out
  end

  -- Otherwise one shopper, by confirming what does not fit, shuts Stripe for all (provider_calls).
  t.it("is well where it refuses what a shopper chose, not where it turns us away", function()
    local function refused(status, told) return confirmed { refused = told, status = status } end
    for _, told in ipairs { { code = "payment_intent_incompatible_payment_method" },
      { code = "payment_method_currency_mismatch" }, { param = "payment_method" } } do
      told.message = "it does not fit"
      local answer = refused(400, told)
      t.same({ answer.outcome, answer.reason }, { "declined", "it does not fit" })
    end
    for _, status in ipairs { 400, 404 } do
      local answer = refused(status, { code = "parameter_unknown" })
      t.same({ answer.outcome, answer.answered }, { "failed", true })
    end
    t.same(refused(400, { code = "payment_intent_unexpected_state" }).answered, true)
    t.same(confirmed({ unknown = "400", is_conflict = true }).answered, true)
    t.same(confirmed { unsent = "429", status = 429 }.answered, nil)
    t.same(confirmed { unknown = "500", status = 500 }.answered, nil)
  end)

  local BODY = '{"id":"evt_1","object":"event","type":"charge.captured","created":1700000000,'
    .. '"livemode":false,"data":{"object":{"object":"charge","id":"ch_1","payment_intent":"pi_1"}}}'

  local function receive(signature, body, by)
    return (by or plugin):call("webhook.receive",
      { headers = { ["stripe-signature"] = signature }, body = body or BODY })
  end

  local function sign(secret, age_s, body)
    local at = math.floor(time.now_ms() / 1000) - (age_s or 0)
    return ("t=%d,v1=%s"):format(at, crypto.hex(crypto.hmac_sha256(secret,
      at .. "." .. (body or BODY))))
  end

  t.it("takes webhooks of both secrets while they are rotated", function()
    local answer = receive(sign "whsec_new")
    t.equal(answer.status, 200)
    t.same(answer.event, { id = "evt_1", type = "charge.captured", subject = "pi_1",
      at_ms = 1700000000000, body = BODY, is_ignored = false })
    t.equal(receive(sign "whsec_old").status, 200)
    t.equal(receive(sign "whsec_old" .. ",v1=" .. ("0"):rep(64) .. ",v0=11").status, 200)
  end)

  t.it("keeps what it does not know, and has nothing done about it", function()
    local body = BODY:gsub("charge.captured", "charge.invented")
    local event = receive(sign("whsec_new", 0, body), body).event
    t.equal(event.is_ignored, true)
    t.equal(event.subject, "evt_1")
  end)

  t.it("takes no other webhook, and says why", function()
    for signature, reason in pairs { [""] = "malformed", ["t=1"] = "malformed",
      [sign "whsec_other"] = "no_match", [sign("whsec_new", 400)] = "stale",
      [sign("whsec_new", -400)] = "stale", [sign("whsec_new", 0, "{}")] = "no_match" } do
      local answer = receive(signature)
      t.equal(answer.status, 400, signature)
      t.equal(answer.reason, reason, signature)
    end
    t.equal(receive(nil).reason, "malformed")
    t.equal(receive(sign "", BODY, plugin:with { secret_key = "k", return_url = "https://x/" })
      .reason, "no_secret")
  end)

  t.it("refuses events of another account, and what is no event", function()
    local live, connected = BODY:gsub("false", "true"), BODY:gsub("{", '{"account":"acct_2",', 1)
    for _, body in ipairs { live, connected } do
      local answer = receive(sign("whsec_new", 0, body), body)
      t.equal(answer.status, 400)
      t.equal(answer.reason, "foreign")
    end
    local ours = plugin:with(with { account = "acct_2" })
    t.equal(receive(sign("whsec_new", 0, connected), connected, ours).status, 200)
    for _, body in ipairs { "[1", "{}", "7", '{"object":"event","id":"e","type":"t"}' } do
      t.equal(receive(sign("whsec_new", 0, body), body).reason, "no_event", body)
    end
  end)

  -- Stripe lists the newest first. Of two of one amount the older was written down first: in the
  -- other order it would be given the name of the newer one, which then nobody books.
  t.it("tells of refunds in the order in which they were made", function()
    local api = require "plugins.payment-stripe.api"
    local request = api.request
    local function refund(id, at)
      return { id = id, amount = 300, status = "succeeded", created = at,
        balance_transaction = "txn_" .. id, metadata = { refund = "rfnd_1" } }
    end
    local answers = {
      ["/v1/payment_intents/pi_1"] = { id = "pi_1", status = "succeeded", amount = 1000,
        currency = "gbp", metadata = { payment = "pay_1", cart = "cart_1" },
        latest_charge = { id = "ch_1", captured = true, amount = 1000, amount_captured = 1000,
          amount_refunded = 900, currency = "gbp", created = 1 } },
      ["/v1/refunds"] = { data = { refund("re_3", 4), refund("re_2", 3), refund("re_1", 2) } },
    }
    api.request = function(_, _, path) return { ok = answers[path] } end
    local answer = require("plugins.payment-stripe.webhook").apply(OPTIONS,
      { types = { "charge.refunded" }, subject = "pi_1" })
    api.request = request
    local order = {}
    for i, event in ipairs(answer.events) do order[i] = event.reference end
    t.same(order, { "ch_1", "re_1", "re_2", "re_3" })
  end)

  t.table({
    { why = "needs a key", given = { return_url = "https://x/" },
      message = "config.secret_key: is needed. sk_live_… or sk_test_…" },
    { why = "refuses a capture that it does not know", given = with { capture_method = "never" },
      message = "config.capture_method: must be manual or automatic" },
    { why = "refuses to wait longer than its hooks may", given = with { timeout_ms = 9000 },
      message = "config.timeout_ms: at most 6000" },
  }, function(case) t.rejects(plugin, case.given, case.message) end)
end)
