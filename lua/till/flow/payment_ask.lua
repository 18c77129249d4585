-- till/flow/payment_ask - the provider's side of a payment: he is asked, and nothing is written.
--
--   ask(payment, hook, more) -> answer, `unknown` where there is none
--   ask_capture(payment), ask_void(payment) -> true value | nil, err     of what is to be captured
--   ask_refund(payment [, part]) -> answer, with refund_ref where there is one | nil, err
--                       part { id, amount, due, again, old }: known by its id; due() is all that
--                       went back or is to go. An `old` one is only looked up: the provider may
--                       have forgotten its key. Without a part: all of it; answer.back_before is
--                       what of it had gone back there by itself, in minor units, or nil
--
-- What he declined he declines for ever under its key, and he refuses another amount under one that
-- he knows: so each attempt, and each part, has a key of its own.
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local result = require "till.flow.payment_result"
local saved_methods = require "till.flow.saved_methods"

local asking = {}

local MOST_FAILED = 3
local is_another, no_answer = result.another, result.no_answer


local function request(p, more)
  local out = { payment_id = p.id, provider_ref = p.provider_ref, amount = p.amount,
    currency = p.currency, idem_key = p.idem_key, data = p.data, order_ref = p.cart_id }
  for key, value in pairs(more or {}) do out[key] = value end
  out.data = kept.for_provider(out.data)
  return out
end


-- No answer is an outcome of its own; nothing is concluded from silence.
local function ask(p, hook, more)
  local asked = request(p, more)
  local ready, e = saved_methods.add_to(asked, p)
  local answer
  if ready then answer, e = dispatch.plugin("payment-" .. p.provider, hook, asked) end
  if answer then return answer end
  if e then
    log.warn("payment.no_answer", { provider = p.provider, hook = hook, error = tostring(e) })
  end
  return { outcome = "unknown" }
end


asking.ask = ask


-- What was done at the provider by hand is refused when it is asked for, and done all the same.
-- -> answer | nil, err, what the provider says of it instead
local function finish(p, hook, wanted, key, more)
  if p.state == wanted then return p end
  local about = { idem_key = p.idem_key .. key }
  for name, value in pairs(more or {}) do about[name] = value end
  local answer = ask(p, hook, about)
  if answer.outcome == wanted then return answer end
  local seen = ask(p, "payment.lookup")
  local another = is_another(p, seen)
  if another then return nil, err.new("conflict", another, { final = true }), seen end
  if seen.outcome == wanted then return seen end
  if answer.outcome == "unknown" then
    return nil, no_answer(p), seen
  end
  return nil, err.new("payment_declined", "the provider refused: " .. tostring(answer.reason),
    { final = true }), seen
end


--- The provider's side only; the row and the ledger are moved by the caller's transaction. A
-- provider refuses another amount under a key that it knows: a part has a key of its own. What it
-- declined it declines for ever under that key: the next attempt has another one.
function asking.ask_capture(p)
  local amount = payments.to_capture(p)
  local key = amount == p.amount and "-capture" or "-capture-" .. amount
  if (p.capture_declines or 0) > 0 then key = key .. "-again-" .. p.capture_declines end
  return finish(p, "payment.capture", "captured", key, { amount = amount, final = true })
end


--- `again`: how often it was refused for good; each refusal is final under its key.
function asking.ask_void(p, again)
  if not capabilities.can(p.provider, "void") then
    return finish(p, "payment.refund", "refunded", again and "-void-" .. again or "-void")
  end
  return finish(p, "payment.void", "voided", again and "-void-" .. again or "-void")
end


-- Its key makes it safe to ask again. A lookup tells only of all refunds together, and there may be
-- one among them that staff made there and that we have not heard of: that all went back is proof,
-- less is not. What they come to is read after it: whatever the provider has counted was decided
-- before. Where it may be done it was perhaps the answer that was lost: he is asked again at once.
local function after_silence(p, part, asked)
  local seen = ask(p, "payment.lookup")
  if seen.outcome == "refunded" then return seen end
  if part.old then
    return nil, err.new("unknown_outcome", "the provider may have forgotten the key of this refund:"
      .. " look there, and resolve it by hand", { final = true })
  end
  local all, e = part.due()
  if not all then return nil, e end
  local again = (seen.refunded_amount or 0) >= all and ask(p, "payment.refund", asked)
  if not again or again.outcome == "unknown" then return nil, no_answer(p) end
  return again
end


local function refund_part(p, part)
  -- linear: an id of ours
  local key = p.idem_key .. "-refund-" .. part.id:match("[^_]*$")
  if part.again then key = key .. "-" .. part.again end
  local asked, answer, e = { idem_key = key, amount = part.amount }, nil, nil
  if not part.old then answer = ask(p, "payment.refund", asked) end
  if not answer or answer.outcome == "unknown" then answer, e = after_silence(p, part, asked) end
  if not answer then return nil, e end
  if answer.outcome ~= "refunded" then
    return nil, err.new("payment_declined", "the provider refused: " .. tostring(answer.reason),
      { final = true })
  end
  return answer
end


-- All of it is refused where a part went back there by itself: then the rest is asked for, under a
-- key that says how much. Who asks once more finds it refunded, or asks for the same. One that was
-- done and did not get there is given again, a few times: the provider knows the key of that.
local function refund_all(p)
  local failed, e2 = payment_events.count(p.id, "refund_failed")
  if not failed then return nil, e2 end
  if failed >= MOST_FAILED then
    return nil, err.new("payment_declined", ("its refund failed %d times: give it back in another"
      .. " way, and resolve the payment as refunded"):format(failed), { final = true })
  end
  local again = failed > 0 and "-again-" .. failed or ""
  local answer, e, seen = finish(p, "payment.refund", "refunded", "-refund" .. again)
  if answer or not err.is(e, "payment_declined") or seen.outcome ~= "captured" then
    return answer, e, seen
  end
  local back = seen.refunded_amount or 0
  local rest = payments.to_capture(p) - back
  if back <= 0 or rest <= 0 then return nil, e, seen end
  answer = ask(p, "payment.refund", { idem_key = p.idem_key .. "-refund-rest-" .. rest .. again,
    amount = rest })
  if answer.outcome == "unknown" then return nil, no_answer(p), seen end
  if answer.outcome ~= "refunded" then return nil, e, seen end
  answer.back_before = back
  return answer
end


function asking.ask_refund(p, part)
  if part then return refund_part(p, part) end
  return refund_all(p)
end


return asking
