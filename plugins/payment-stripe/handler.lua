local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local check = require "plugins.payment-stripe.check"
local customers = require "plugins.payment-stripe.customers"
local intent = require "plugins.payment-stripe.intent"
local outcome = require "plugins.payment-stripe.outcome"
local sessions = require "plugins.payment-stripe.sessions"
local settlement = require "plugins.payment-stripe.settlement"
local url = require "till.util.url"
local webhook = require "plugins.payment-stripe.webhook"

local handler = {}

local REFUND_KEYS = 9 -- that a refund may fail under
local answer, reason_of = outcome.answer, outcome.reason_of

-- What the shopper did, or his bank: he can do otherwise. Everything else is the shop's affair.
local SHOPPERS = { amount_too_small = true, amount_too_large = true, resource_missing = true,
  payment_method_unexpected_state = true, payment_intent_incompatible_payment_method = true,
  payment_method_billing_details_address_missing = true, payment_method_currency_mismatch = true,
  payment_method_customer_decline = true, payment_method_invalid_parameter = true,
  payment_method_not_available = true, payment_method_provider_decline = true }
-- What a lookup finds is told of an authorization in its own words.
local OF_AUTHORIZE = { voided = "failed", not_found = "failed", refunded = "unknown" }


local function has(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end


handler["payment.check"] = check


handler["payment.describe"] = function(config, about)
  if config.currencies and not has(config.currencies, about.currency) then return nil end
  if not amounts.charge(about.amount, about.currency) then return nil end
  return { label = config.label, capture = config.capture, fields = { "payment_method" } }
end


-- What was not captured of an intent is let go of by the first capture: there is never a second.
handler["payment.capabilities"] = function(config)
  local least, most = amounts.limits(config.currencies)
  local is_manual = config.capture_method == "manual"
  return { currencies = config.currencies, min_amount = least, max_amount = most,
    partial_capture = is_manual, multiple_captures = false, partial_refund = true, void = true,
    saved_methods = true, authorization_days = is_manual and outcome.AUTHORIZED_DAYS or nil,
    trusts_callbacks = false }
end


handler["payment.lookup"] = function(config, payment)
  payment.data = type(payment.data) == "table" and payment.data or {}
  return outcome.look(config, payment)
end


local function of_authorize(found)
  local told = OF_AUTHORIZE[found.outcome]
  if told then found.outcome, found.answered = told, true end
  return found
end


local function look_to_authorize(config, payment)
  return of_authorize(outcome.look(config, payment))
end


-- The one parameter that the shopper chose; not each way in which it does not fit has a code.
local function is_shoppers(told, status)
  return status == 402 or SHOPPERS[told.code] or told.param == "payment_method"
end


-- Stripe is well: it read the request, and says why it does not do it. That is no failure of its
-- own, or whoever sends such requests would shut it for everybody else.
local function refused(config, payment, id, told, status)
  local what, reason = "failed", "the shop's request was refused; nothing was taken"
  if is_shoppers(told, status) then what, reason = "declined", reason_of(told) end
  if not id then return answer(what, nil, { reason = reason, answered = true }) end
  if what == "failed" and told.code == "payment_intent_unexpected_state" then
    return look_to_authorize(config, payment)
  end
  local given_up = outcome.give_up(config, payment, id, what, reason)
  if given_up.outcome == what then given_up.answered = true end
  return given_up
end


local function confirm(config, payment, id)
  payment.provider_ref = id
  local got = intent.confirm(config, payment, id)
  if got.ok then
    if not intent.is_ours(got.ok, payment) then return answer("unknown", id) end
    return of_authorize(outcome.judge(config, got.ok, payment))
  elseif got.refused then
    return refused(config, payment, id, got.refused, got.status)
  elseif got.unsent then
    return answer("failed", id, { reason = got.unsent })
  end
  return answer("unknown", id, { answered = got.is_conflict or nil })
end


local TOO_LATE = "it was chosen too long ago: choose how to pay again"


-- Stripe's page, on which he pays: nothing is taken before he does.
local function open_page(config, payment)
  if sessions.is_late(config, payment) then
    return answer("declined", nil, { reason = TOO_LATE })
  end
  local made = sessions.create(config, payment)
  if made.refused then return refused(config, payment, nil, made.refused, made.status) end
  if not made.ok then
    return answer(made.unsent and "failed" or "unknown", nil, { reason = made.unsent })
  end
  return outcome.of_session(config, made.ok, payment)
end


local NO_METHOD = "there is no payment_method (pm_…) of Stripe"
local NOT_SAVED = "there is no such saved payment method"


-- -> a sentence, where Stripe need not be asked
local function unfit(config, payment)
  if config.currencies and not has(config.currencies, payment.currency) then
    return "this currency is not taken"
  end
  local theirs, why = amounts.charge(payment.amount, payment.currency)
  if not theirs then return why end
  if payment.data.checkout == true or customers.method_of(payment) then return nil end
  return payment.data.saved_method ~= nil and NOT_SAVED or NO_METHOD
end


-- Until the confirmation nothing can be taken: whatever goes wrong before it has failed for sure.
handler["payment.authorize"] = function(config, payment)
  payment.data = type(payment.data) == "table" and payment.data or {}
  if payment.provider_ref then return look_to_authorize(config, payment) end
  local why = unfit(config, payment)
  if why then return answer("declined", nil, { reason = why }) end
  if payment.data.checkout == true then return open_page(config, payment) end
  local made = intent.create(config, payment)
  if made.refused then return refused(config, payment, nil, made.refused, made.status) end
  if not made.ok or not intent.is_ours(made.ok, payment) then
    return answer("failed", nil, { reason = made.unsent or made.unknown or "another payment" })
  end
  return confirm(config, payment, made.ok.id)
end


local function act_path(id, what)
  return "/v1/payment_intents/" .. url.encode(id) .. (what and "/" .. what or "")
end


-- A failure of Stripe's is remembered under its key for a day. Where the intent says afterwards
-- that it was not done, it is asked for once more under another key: an intent is captured once,
-- and canceled once, whoever asks for it.
local function ask(config, payment, what, params, key)
  local path = act_path(payment.provider_ref, what)
  local got = api.request(config, "POST", path, params, key)
  if not got.unknown or (got.status or 0) < 500 then return got end
  local seen = api.request(config, "GET", act_path(payment.provider_ref)).ok
  if not seen then return got end
  if seen.status ~= "requires_capture" then return { ok = seen } end
  return api.request(config, "POST", path, params, api.fresh(key))
end


-- -> the answer, after what was refused was looked at
local function act(config, payment, what, params, is_done, done)
  local id = payment.provider_ref
  if not id then return answer("unknown") end
  local key = what == "cancel" and api.fresh(payment.idem_key) or payment.idem_key
  local got = ask(config, payment, what, params, key)
  local seen = got.ok
  if got.refused then seen = api.request(config, "GET", act_path(id)).ok end
  if not seen or not intent.is_ours(seen, payment, true) then return answer("unknown", id) end
  if is_done(seen) then return answer(done, id) end
  if got.ok or seen.status == "processing" then
    return answer("unknown", id, { answered = seen.status == "processing" })
  end
  return answer("declined", id, { reason = reason_of(got.refused) })
end


handler["payment.capture"] = function(config, payment)
  local amount = amounts.to_stripe(payment.amount, payment.currency)
  if not amount then
    return answer("declined", payment.provider_ref, { reason = "Stripe does not take this amount" })
  end
  return act(config, payment, "capture", { amount_to_capture = amount,
    metadata = { capture = amount } }, function(seen)
    return seen.status == "succeeded" and seen.amount_received == amount
  end, "captured")
end


local function cancel(config, payment)
  return act(config, payment, "cancel", {}, function(seen)
    return seen.status == "canceled"
  end, "voided")
end


-- A page is closed first, so that nobody pays there meanwhile; then what came of it is canceled.
handler["payment.void"] = function(config, payment)
  local ref = payment.provider_ref
  if not sessions.is_session(ref) then return cancel(config, payment) end
  local seen = sessions.expire(config, payment)
  if not seen or not sessions.is_ours(seen, payment) or seen.status == "open" then
    return answer("unknown", ref)
  end
  if type(seen.payment_intent) == "string" then
    payment.provider_ref = seen.payment_intent
    return cancel(config, payment)
  end
  return answer(seen.status == "expired" and "voided" or "unknown", ref)
end


-- The refund that was asked for under this key, where its answer was lost.
-- -> it | false: it is not there | nil: not known
local function refund_of(config, payment)
  local page = api.request(config, "GET", "/v1/refunds",
    { payment_intent = payment.provider_ref, limit = 100 }).ok
  if not page or type(page.data) ~= "table" then return nil end
  for _, one in ipairs(page.data) do
    if type(one.metadata) == "table" and one.metadata.refund == payment.idem_key then return one end
  end
  if page.has_more == false then return false end
end


-- A failure that Stripe remembers under a key is over: what it did is in the list by now, or was
-- not done and never will be. Then it is asked for under the next key, the same for all who ask.
local function ask_refund(config, payment, amount)
  for n = 1, REFUND_KEYS do
    local got = api.request(config, "POST", "/v1/refunds", { payment_intent = payment.provider_ref,
      amount = amount, metadata = { payment = payment.payment_id, refund = payment.idem_key } },
      n == 1 and payment.idem_key or payment.idem_key .. "-" .. n)
    if not got.unknown then return got end
    local found = refund_of(config, payment)
    if found then return { ok = found } end
    if found == nil or not got.is_replayed then return got end
  end
  return { unknown = "Stripe fails each time" }
end


-- `pending` is on its way: it is Stripe's to bring it there, and told by webhook where it cannot.
handler["payment.refund"] = function(config, payment)
  local id, amount = payment.provider_ref, amounts.to_stripe(payment.amount, payment.currency)
  if not id then return answer("unknown") end
  if not amount then
    return answer("declined", id, { reason = "Stripe does not take this amount" })
  end
  local got = ask_refund(config, payment, amount)
  if got.refused then return answer("declined", id, { reason = reason_of(got.refused) }) end
  local refund = got.ok
  if not refund or refund.payment_intent ~= id or refund.amount ~= amount
    or refund.currency ~= payment.currency:lower() then
    return answer("unknown", id)
  end
  local is_done = refund.status == "succeeded" or refund.status == "pending"
  return answer(is_done and "refunded" or "declined", id, { refund_ref = refund.id,
    reason = not is_done and "the refund is " .. tostring(refund.status) or nil })
end


handler["payment.forget"] = function(config, about)
  return { outcome = customers.forget(config, about) }
end


handler["payment.settlement"] = settlement.page
handler["payment.payout"] = settlement.payout
handler["payment.balance"] = settlement.balance
handler["webhook.receive"] = webhook.receive
handler["webhook.apply"] = webhook.apply
handler["webhook.poll"] = webhook.poll


return handler
