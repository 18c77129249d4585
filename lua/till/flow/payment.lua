-- till/flow/payment - asking providers for money, and what became of it.
--
--   start(tx, cart, provider, data, offer) -> payment     offer: what describe said; it is frozen
--   authorize(payment, env) -> payment | nil, err     payment_declined, payment_requires_action,
--                                                     unknown_outcome
--   at_once(payment) -> payment, as it will be | false    of a plugin that never waits for anybody;
--                       nothing is written: the caller does, with what it pays for
--   settle(payment)     looks up one whose outcome is unknown -> payment | nil, err
--   void(payment)       lets go of it; what was captured is refunded -> payment | nil, err
--   ask_lookup(payment) -> answer       what the provider says, and nothing is done with it
--   ask_capture(payment), ask_void(payment) -> true value | nil, err     of what is to be captured
--   ask_refund(payment [, part]) -> answer, with refund_ref where there is one | nil, err
--                       part { id, amount, due, again, old }: known by its id; due() is all that
--                       went back or is to go. An `old` one is only looked up: the provider may
--                       have forgotten its key
--
-- The state is moved to `sending` and committed before the provider is asked: whoever finds it so
-- knows that the money may be on its way, and looks it up instead of asking again. Only who has the
-- claim of the flow sends: one that has lost it while he slept finds the door shut. "Not found" is
-- no answer while the request may still be on its way (payments.not_found_after_ms).
local booking = require "till.flow.booking"
local capabilities = require "till.flow.capabilities"
local conf = require "till.prim.conf"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local payments = require "till.store.payments"
local result = require "till.flow.payment_result"
local sagas = require "till.store.sagas"
local saved_methods = require "till.flow.saved_methods"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local payment = {}

payment.states = require "till.flow.payment_states"

local is_another, no_answer, to_result = result.another, result.no_answer, result.of


local function plugin_of(provider)
  return "payment-" .. provider
end


--- What the provider says of itself for this amount; nil when it is not offered.
function payment.describe(provider, about)
  if not dispatch.has("payment.describe", plugin_of(provider)) then return nil end
  return dispatch.plugin(plugin_of(provider), "payment.describe", about)
end


function payment.start(tx, cart, provider, data, offer)
  return payments.create(tx, { cart_id = cart.id, provider = provider, currency = cart.currency,
    amount = cart.priced.total, data = kept.begin(data, offer) })
end


--- Can its provider be asked at all? Not where its plugin is not loaded any more.
payment.is_offered = result.is_offered


-- Moves along the table; e.is_moved: somebody else has moved it meanwhile.
local function move(p, event, fields, tx)
  local to, why = payment.states:next(p.state, event)
  if not to then return nil, err.new("conflict", why) end
  local moved, e = payments.move(tx, p.id, p.state, to, fields)
  if moved == nil then return nil, e end
  if not moved then
    return nil, err.new("conflict", "the payment was changed by another worker",
      { is_moved = true })
  end
  p.state = to
  for name, value in pairs(fields or {}) do p[name] = value end
  return p
end


payment.move = move


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
  if ready then answer, e = dispatch.plugin(plugin_of(p.provider), hook, asked) end
  if answer then return answer end
  if e then
    log.warn("payment.no_answer", { provider = p.provider, hook = hook, error = tostring(e) })
  end
  return { outcome = "unknown" }
end


-- What was given back there was captured before.
local function record(p, answer, fence)
  local another = is_another(p, answer)
  if another then
    log.error("payment.another_amount", { payment = p.id, provider = p.provider,
      amount = payments.to_capture(p), captured = answer.captured_amount,
      next_step = "look at the provider, then retry or resolve the flow" })
    return nil, err.new("unknown_outcome", another, { final = true })
  end
  if answer.saved then saved_methods.keep(p, answer.saved) end
  local fields = { provider_ref = answer.provider_ref, reason = answer.reason,
    action = answer.action, fence = fence }
  if answer.outcome == "refunded" and p.state ~= "captured" then
    local ok, e = move(p, "captured", fields)
    if not ok then return nil, e end
  end
  return move(p, answer.outcome, fields)
end


-- What could not be written, for another worker was at it as well, is as that one has left it. To
-- go back instead would leave behind what he has authorized.
local function as_it_is(p, e)
  if not e.is_moved then return nil, e end
  local now, e2 = payments.get(p.id)
  if not now then return nil, e2 or e end
  for name in pairs(p) do p[name] = nil end
  for name, value in pairs(now) do p[name] = value end
  return to_result(p)
end


local PAID = { authorized = true, captured = true }
local GIVEN_UP = { failed = true, voided = true }


-- The row of the flow is locked to the end: whoever takes it over does so before, or finds it sent.
local function begin_to_send(p, fields, row)
  if not row then return move(p, "send", fields) end
  local was = p.state
  return sql.transaction(function(tx)
    p.state = was -- a deadlock runs it again
    local now, e = sagas.lock(tx, row.id)
    if now == nil then return nil, e end
    if not now or now.claim ~= row.claim or now.state ~= "running" then
      return nil, err.new("conflict", "another worker completes this cart", { is_moved = true })
    end
    return move(p, "send", fields, tx)
  end)
end


-- Where it was given up while we were slow to ask, its money is nobody's: till.flow.late_payment.
local function send(p, more, env)
  local fence, is_resent = env.saga and env.saga.claim, p.state ~= "created"
  local moved, e = begin_to_send(p, { data = more and more.data or p.data, fence = fence },
    env.saga)
  if not moved then return as_it_is(p, e) end
  local answer = ask(p, "payment.authorize", { is_resent = is_resent })
  local ok, e2 = record(p, answer, fence)
  if ok then return to_result(p) end
  local now, e3 = as_it_is(p, e2)
  if GIVEN_UP[p.state] then require("till.flow.late_payment").heard(p, answer) end
  return now, e3
end


function payment.at_once(p)
  if p.state ~= "created" or dispatch.waits(plugin_of(p.provider)) then return false end
  local answer = ask(p, "payment.authorize")
  if not PAID[answer.outcome] then return false end
  local out = {}
  for name, value in pairs(p) do out[name] = value end
  out.state, out.provider_ref = answer.outcome, answer.provider_ref
  return out
end


function payment.ask_lookup(p)
  return ask(p, "payment.lookup")
end


-- Its request may still be on its way: who asks again later may hear of money.
local function is_young(p)
  local since = p.state == "sending" and p.updated_at and time.parse(p.updated_at)
  return since and time.now_ms() - since < conf.get("payments.not_found_after_ms")
end


--- Of one that is `sending`, `unknown` or waits for the shopper: what does the provider say?
function payment.settle(p, fence)
  local answer = ask(p, "payment.lookup")
  if answer.outcome == "not_found" and is_young(p) then return to_result(p) end
  if answer.outcome == "unknown" or answer.outcome == p.state then
    if p.state == "sending" and not is_young(p) then
      local ok, e = move(p, "unknown", { fence = fence })
      if not ok then return as_it_is(p, e) end
    end
    return to_result(p)
  end
  local ok, e = record(p, answer, fence)
  if not ok then return as_it_is(p, e) end
  return to_result(p)
end


function payment.authorize(p, env)
  local fence = env.saga and env.saga.claim
  if p.state == "created" then return send(p, nil, env) end
  if p.state == "requires_action" and env.payment_data then
    return send(p, { data = kept.with(p.data, env.payment_data) }, env)
  end
  if p.state == "sending" or p.state == "unknown" or p.state == "requires_action" then
    return payment.settle(p, fence)
  end
  return to_result(p)
end


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
function payment.ask_capture(p)
  local amount = payments.to_capture(p)
  local key = amount == p.amount and "-capture" or "-capture-" .. amount
  if (p.capture_declines or 0) > 0 then key = key .. "-again-" .. p.capture_declines end
  return finish(p, "payment.capture", "captured", key, { amount = amount })
end


--- `again`: how often it was refused for good; each refusal is final under its key.
function payment.ask_void(p, again)
  if not capabilities.can(p.provider, "void") then
    return finish(p, "payment.refund", "refunded", again and "-void-" .. again or "-void")
  end
  return finish(p, "payment.void", "voided", again and "-void-" .. again or "-void")
end


-- Its key makes it safe to ask again, and a lookup tells only of all refunds together. What they
-- come to is read after it: whatever the provider has counted was decided before.
local function refund_part(p, part)
  local key = p.idem_key .. "-refund-" .. part.id:match("[^_]*$")
  if part.again then key = key .. "-" .. part.again end
  local answer = part.old and { outcome = "unknown" } or ask(p, "payment.refund",
    { idem_key = key, amount = part.amount })
  if answer.outcome == "unknown" then
    local seen = ask(p, "payment.lookup")
    local all, e = part.due()
    if not all then return nil, e end
    if seen.outcome == "refunded" or (seen.refunded_amount or 0) >= all then return seen end
    if not part.old then return nil, no_answer(p) end
    return nil, err.new("unknown_outcome", "the provider may have forgotten the key of this refund:"
      .. " look there, and resolve it by hand", { final = true })
  elseif answer.outcome ~= "refunded" then
    return nil, err.new("payment_declined", "the provider refused: " .. tostring(answer.reason),
      { final = true })
  end
  return answer
end


function payment.ask_refund(p, part)
  if part then return refund_part(p, part) end
  return finish(p, "payment.refund", "refunded", "-refund")
end


-- Captured by somebody there, so it cannot be voided any more. The row says so before it is given
-- back: whoever goes on with it then asks for the refund alone.
local MONEY = { captured = true, refunded = true }


function payment.void(p)
  if p.state == "created" then return move(p, "void") end
  if payment.states.final[p.state] then return p end
  if p.state == "sending" or p.state == "unknown" then
    local _, e = payment.settle(p)
    if p.state == "sending" or p.state == "unknown" then return nil, e end
    return payment.void(p)
  end
  if p.state == "disputed" or p.state == "lost" then
    return nil, err.new("conflict", "a bank has taken payment " .. p.id .. " back",
      { final = true })
  end
  if p.state == "captured" or p.state == "won" then
    local given_back, e = payment.ask_refund(p)
    if not given_back then return nil, e end
    return booking.all_back(p, given_back.refund_ref)
  end
  local answer, e, seen = payment.ask_void(p)
  if answer then
    fault.crash "void.after_ask"
    return move(p, "voided")
  end
  if not MONEY[seen.outcome] then return nil, e end
  local ok, e2 = record(p, seen)
  if not ok then return nil, e2 end
  return payment.void(p)
end


return payment
