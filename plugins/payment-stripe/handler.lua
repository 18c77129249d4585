local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local intent = require "plugins.payment-stripe.intent"
local log = require "till.prim.log"
local url = require "till.util.url"
local webhook = require "plugins.payment-stripe.webhook"

local handler = {}

-- What the shopper did, or his bank: he can do otherwise. Everything else is the shop's affair.
local SHOPPERS = { amount_too_small = true, amount_too_large = true, resource_missing = true,
  payment_method_unexpected_state = true }
-- What a lookup finds is told of an authorization in its own words.
local OF_AUTHORIZE = { voided = "failed", not_found = "failed", refunded = "unknown" }


local function has(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end


handler["payment.describe"] = function(config, about)
  if config.currencies and not has(config.currencies, about.currency) then return nil end
  if not amounts.to_stripe(about.amount, about.currency) then return nil end
  return { label = config.label, capture = config.capture, fields = { "payment_method" } }
end


local function answer(outcome, id, more)
  local out = { outcome = outcome, provider_ref = id }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end


local function reason_of(told)
  return type(told) == "table" and type(told.message) == "string" and told.message:sub(1, 200)
    or "the payment was declined"
end


-- Closed for good, so that nobody confirms it once more after we gave it up.
local function give_up(config, payment, id, outcome, reason)
  if intent.close(config, payment, id) ~= "closed" then return answer("unknown", id) end
  return answer(outcome, id, { reason = reason })
end


-- All of it, or the part that we asked for: what somebody captured by hand is his to explain.
local function is_our_capture(seen)
  return seen.amount_received == seen.amount
    or seen.amount_received == tonumber(seen.metadata.capture)
end


-- A partial capture counts what it lets go of as refunded: that never was anybody's money.
local function captured(seen, payment)
  local charge = seen.latest_charge
  if type(charge) ~= "table" or charge.captured ~= true or not is_our_capture(seen) then
    log.error("stripe.another_capture", { payment_id = payment.payment_id, intent = seen.id,
      amount = tostring(seen.amount_received) })
    return answer("unknown", seen.id)
  end
  local back = charge.amount_refunded - (charge.amount - charge.amount_captured)
  return answer(back >= charge.amount_captured and "refunded" or "captured", seen.id,
    { refunded_amount = amounts.from_stripe(math.max(back, 0), payment.currency) })
end


local STATES = {}


function STATES.requires_payment_method(config, seen, payment)
  local told = seen.last_payment_error
  if type(told) ~= "table" then
    return give_up(config, payment, seen.id, "not_found")
  end
  return give_up(config, payment, seen.id, "declined", reason_of(told))
end


function STATES.requires_confirmation(config, seen, payment)
  return give_up(config, payment, seen.id, "not_found")
end


function STATES.requires_action(config, seen, payment)
  local redirect = type(seen.next_action) == "table" and seen.next_action.redirect_to_url
  if type(redirect) ~= "table" or type(redirect.url) ~= "string" then
    return give_up(config, payment, seen.id, "declined", "it cannot be confirmed here")
  end
  return answer("requires_action", seen.id, { action = { type = "redirect", url = redirect.url } })
end


function STATES.requires_capture(_, seen)
  return answer(seen.amount_capturable == seen.amount and "authorized" or "unknown", seen.id)
end


function STATES.succeeded(_, seen, payment)
  return captured(seen, payment)
end


function STATES.canceled(_, seen)
  return answer("voided", seen.id)
end


-- Of an intent as it is now. What is not of this attempt, to the cent, is not believed.
local function judge(config, seen, payment)
  if not intent.is_ours(seen, payment) then return answer("unknown", payment.provider_ref) end
  local state = STATES[seen.status]
  if not state then return answer("unknown", seen.id) end -- `processing`, and what we do not know
  return state(config, seen, payment)
end


local function look(config, payment)
  local seen = intent.find(config, payment)
  if not seen then return answer("unknown", payment.provider_ref) end
  return judge(config, seen, payment)
end


handler["payment.lookup"] = look


local function look_to_authorize(config, payment)
  local found = look(config, payment)
  found.outcome = OF_AUTHORIZE[found.outcome] or found.outcome
  return found
end


local function refused(config, payment, id, told, status)
  if status == 402 or SHOPPERS[told.code] then
    if not id then return answer("declined", nil, { reason = reason_of(told) }) end
    return give_up(config, payment, id, "declined", reason_of(told))
  end
  local reason = "the shop's request was refused; nothing was taken"
  if not id then return answer("failed", nil, { reason = reason }) end
  if told.code == "payment_intent_unexpected_state" then
    return look_to_authorize(config, payment)
  end
  return give_up(config, payment, id, "failed", reason)
end


local function confirm(config, payment, id)
  payment.provider_ref = id
  local got = intent.confirm(config, payment, id)
  if got.ok then
    if not intent.is_ours(got.ok, payment) then return answer("unknown", id) end
    local found = judge(config, got.ok, payment)
    found.outcome = OF_AUTHORIZE[found.outcome] or found.outcome
    return found
  elseif got.refused then
    return refused(config, payment, id, got.refused, got.status)
  elseif got.unsent then
    return answer("failed", id, { reason = got.unsent })
  end
  return answer("unknown", id)
end


local function is_method(value)
  return type(value) == "string" and #value <= 255 and value:find "^pm_[%w_]+$" ~= nil
end


-- Until the confirmation nothing can be taken: whatever goes wrong before it has failed for sure.
handler["payment.authorize"] = function(config, payment)
  payment.data = type(payment.data) == "table" and payment.data or {}
  if payment.provider_ref then return look_to_authorize(config, payment) end
  if not is_method(payment.data.payment_method) then
    return answer("declined", nil, { reason = "there is no payment_method (pm_…) of Stripe" })
  end
  if not amounts.to_stripe(payment.amount, payment.currency) then
    return answer("declined", nil, { reason = "Stripe does not take this amount" })
  end
  local made = intent.create(config, payment)
  if made.refused then return refused(config, payment, nil, made.refused, made.status) end
  if not made.ok or not intent.is_ours(made.ok, payment) then
    return answer("failed", nil, { reason = made.unsent or made.unknown or "another payment" })
  end
  return confirm(config, payment, made.ok.id)
end


-- -> the answer, after what was refused was looked at
local function act(config, payment, what, params, is_done, outcome)
  local id = payment.provider_ref
  if not id then return answer("unknown") end
  local path = "/v1/payment_intents/" .. url.encode(id)
  local got = api.request(config, "POST", path .. "/" .. what, params, payment.idem_key)
  local seen = got.ok
  if got.refused then seen = api.request(config, "GET", path).ok end
  if not seen or not intent.is_ours(seen, payment, true) then return answer("unknown", id) end
  if is_done(seen) then return answer(outcome, id) end
  if got.ok or seen.status == "processing" then return answer("unknown", id) end
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


handler["payment.void"] = function(config, payment)
  return act(config, payment, "cancel", {}, function(seen)
    return seen.status == "canceled"
  end, "voided")
end


-- `pending` is on its way: it is Stripe's to bring it there, and told by webhook where it cannot.
handler["payment.refund"] = function(config, payment)
  local id, amount = payment.provider_ref, amounts.to_stripe(payment.amount, payment.currency)
  if not id then return answer("unknown") end
  if not amount then
    return answer("declined", id, { reason = "Stripe does not take this amount" })
  end
  local got = api.request(config, "POST", "/v1/refunds", { payment_intent = id, amount = amount,
    metadata = { payment = payment.payment_id, refund = payment.idem_key } }, payment.idem_key)
  if got.refused then return answer("declined", id, { reason = reason_of(got.refused) }) end
  local refund = got.ok
  if not refund or refund.payment_intent ~= id or refund.amount ~= amount
    or refund.currency ~= payment.currency:lower() then
    return answer("unknown", id)
  end
  local is_done = refund.status == "succeeded" or refund.status == "pending"
  return answer(is_done and "refunded" or "declined", id, { reason = not is_done
    and "the refund is " .. tostring(refund.status) or nil })
end


handler["webhook.receive"] = webhook.receive
handler["webhook.apply"] = webhook.apply
handler["webhook.poll"] = webhook.poll


return handler
