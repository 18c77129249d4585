-- What an object of Stripe's says of an attempt, as an answer of a payment hook.
--
--   answer(outcome, id [, more])  -> { outcome =, provider_ref =, … }
--   reason_of(told)               -> what Stripe says to the shopper
--   judge(config, intent, payment), look(config, payment) -> an answer, as of payment.lookup
--   of_session(config, session, payment)                  -> the same
--   why_canceled(intent)          -> "expired" | "canceled at Stripe" | nil
--   give_up(config, payment, id, outcome, reason)         the intent is closed first
local amounts = require "plugins.payment-stripe.amounts"
local customers = require "plugins.payment-stripe.customers"
local intent = require "plugins.payment-stripe.intent"
local log = require "till.prim.log"
local sessions = require "plugins.payment-stripe.sessions"
local time = require "till.prim.time"

local outcome = { AUTHORIZED_DAYS = 7 } -- of a card

local EXPIRED = "the page to pay on has expired"


local function answer(what, id, more)
  local out = { outcome = what, provider_ref = id }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end


local function reason_of(told)
  return type(told) == "table" and type(told.message) == "string" and told.message:sub(1, 200)
    or "the payment was declined"
end


function outcome.why_canceled(seen)
  if seen.cancellation_reason == "automatic" then return "expired" end
  return type(seen.cancellation_reason) == "string" and "canceled at Stripe" or nil
end


-- What Stripe says of the charge itself, where it does; else a card is held for so long.
local function held_until(seen)
  local charge = seen.latest_charge
  if type(charge) ~= "table" or type(charge.created) ~= "number" then return nil end
  local details = type(charge.payment_method_details) == "table" and charge.payment_method_details
  local about = details and details[details.type]
  local told_s = type(about) == "table" and about.capture_before
  if type(told_s) ~= "number" then told_s = charge.created + outcome.AUTHORIZED_DAYS * 86400 end
  return time.rfc3339(told_s * 1000)
end


-- Closed for good, so that nobody confirms it once more after we gave it up.
local function give_up(config, payment, id, what, reason)
  if intent.close(config, payment, id) ~= "closed" then return answer("unknown", id) end
  return answer(what, id, { reason = reason })
end


-- All of it, or the part that we asked for: what somebody captured by hand is his to explain.
local function is_our_capture(seen)
  return seen.amount_received == seen.amount
    or seen.amount_received == tonumber(seen.metadata.capture)
end


-- A partial capture counts what it lets go of as refunded: that never was anybody's money. Whether
-- it is as much as is to be captured, the core decides: here nobody knows of cancelled lines.
local function captured(seen, payment)
  local charge = seen.latest_charge
  if type(charge) ~= "table" or charge.captured ~= true then return answer("unknown", seen.id) end
  if not is_our_capture(seen) then
    log.error("stripe.another_capture", { payment_id = payment.payment_id, intent = seen.id,
      amount = tostring(seen.amount_received) })
  end
  local back = charge.amount_refunded - (charge.amount - charge.amount_captured)
  return answer(back >= charge.amount_captured and "refunded" or "captured", seen.id,
    { captured_amount = amounts.from_stripe(seen.amount_received, payment.currency),
      refunded_amount = amounts.from_stripe(math.max(back, 0), payment.currency),
      saved = customers.kept(seen, payment) })
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


function STATES.requires_capture(_, seen, payment)
  if seen.amount_capturable ~= seen.amount then return answer("unknown", seen.id) end
  return answer("authorized", seen.id, { saved = customers.kept(seen, payment),
    expires_at = held_until(seen) })
end


function STATES.succeeded(_, seen, payment)
  return captured(seen, payment)
end


-- `automatic` is Stripe's own word for one that nobody captured in time.
function STATES.canceled(_, seen)
  return answer("voided", seen.id, { reason = outcome.why_canceled(seen) })
end


-- Stripe is well, and has not decided yet: that is no failure of its own.
function STATES.processing(_, seen)
  return answer("unknown", seen.id, { answered = true })
end


-- Of an intent as it is now. What is not of this attempt, to the cent, is not believed.
local function judge(config, seen, payment)
  if not intent.is_ours(seen, payment) then return answer("unknown", payment.provider_ref) end
  local state = STATES[seen.status]
  if not state then return answer("unknown", seen.id) end
  return state(config, seen, payment)
end


-- The page is open until it is paid or expired: whatever was declined there, he may try another
-- card. What comes of it is told by its intent.
local function of_session(config, seen, payment)
  if not sessions.is_ours(seen, payment) then return answer("unknown", payment.provider_ref) end
  if seen.status == "open" and type(seen.url) == "string" then
    return answer("requires_action", seen.id, { action = { type = "redirect", url = seen.url } })
  elseif type(seen.payment_intent) == "string" then
    local paid = intent.get(config, seen.payment_intent)
    if not paid then return answer("unknown", seen.id) end
    return judge(config, paid, payment)
  end
  return answer(seen.status == "expired" and "declined" or "unknown", seen.id, { reason = EXPIRED })
end


local function look(config, payment)
  local ref, data, seen = payment.provider_ref, payment.data
  if sessions.is_session(ref) or not ref and type(data) == "table" and data.checkout == true then
    seen = sessions.find(config, payment)
    if seen then return of_session(config, seen, payment) end
  else
    seen = intent.find(config, payment)
    if seen then return judge(config, seen, payment) end
  end
  return answer(seen == false and "not_found" or "unknown", ref)
end


outcome.answer, outcome.reason_of, outcome.give_up = answer, reason_of, give_up
outcome.judge, outcome.of_session, outcome.look = judge, of_session, look

return outcome
