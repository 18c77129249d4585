-- till/flow/payment - asking providers for money, and what became of it.
--
--   start(tx, cart, provider, data, offer [, room]) -> payment     offer: what describe said; it is
--                                                     frozen. room: as till.flow.payment_parts
--                                                     has it, where it is not of the cart's total
--   authorize(payment, env) -> payment | nil, err     payment_declined, payment_requires_action,
--                                                     unknown_outcome. env.gate(tx) -> true | nil,
--                                                     err: may it be sent? In the transaction that
--                                                     says so, where no flow has it
--                       env.sent: the one that was moved to `sending` just now, with its flow; an
--                       authorization of it is env.heard { payment, answer } then, and not written
--   told(heard, env) -> payment as it will be, fields    of till.store.payments' move
--   written(heard, env) -> as authorize              it is written down now
--   at_once(payment) -> payment, as it will be | false    of a plugin that never waits for anybody;
--                       nothing is written: the caller does, with what it pays for
--   settle(payment)     looks up one whose outcome is unknown -> payment | nil, err
--   void(payment)       lets go of it; what was captured is refunded -> payment | nil, err
--   taken_over() -> err    for whoever lost the claim of a cart: its flow is left as it is
--   ask, ask_capture, ask_void, ask_refund      of till.flow.payment_ask
--   ask_lookup(payment) -> answer       what the provider says, and nothing is done with it
--
-- The state is moved to `sending` and committed before the provider is asked: whoever finds it so
-- knows that the money may be on its way, and looks it up instead of asking again. Only who has the
-- claims of the cart and of the flow (env.claim, env.saga) sends: one that has lost one while he
-- slept finds the door shut. "Not found" is no answer while the request may still be on its way
-- (payments.not_found_after_ms): the error has `known_at_ms` then, when it will be one.
local asking = require "till.flow.payment_ask"
local authorization_end = require "till.flow.authorization_end"
local booking = require "till.flow.booking"
local carts = require "till.store.carts"
local dispatch = require "till.plugin.dispatch"
local doubts = require "till.store.doubts"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local payments = require "till.store.payments"
local result = require "till.flow.payment_result"
local sagas = require "till.store.sagas"
local saved_methods = require "till.flow.saved_methods"
local sql = require "till.prim.sql"
local way = require "till.flow.payment_way"

local payment = {}

payment.ask, payment.ask_capture = asking.ask, asking.ask_capture
payment.ask_void, payment.ask_refund = asking.ask_void, asking.ask_refund
payment.states = require "till.flow.payment_states"
payment.on_its_way = way.until_ms

local is_another, to_result = result.another, result.of
local ask = asking.ask


local function plugin_of(provider)
  return "payment-" .. provider
end


--- What the provider says of itself for this amount; nil when it is not offered.
function payment.describe(provider, about)
  if not dispatch.has("payment.describe", plugin_of(provider)) then return nil end
  return dispatch.plugin(plugin_of(provider), "payment.describe", about)
end


function payment.start(tx, cart, provider, data, offer, room)
  return payments.create(tx, { cart_id = cart.id, provider = provider, currency = cart.currency,
    amount = room and room.amount or cart.priced.total,
    data = kept.begin(data, offer, room and room.part) })
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


local function fields_of(p, answer, fence)
  return { provider_ref = answer.provider_ref, reason = answer.reason, action = answer.action,
    fence = fence, authorization_expires_at = authorization_end.of(p, answer) }
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
  local fields = fields_of(p, answer, fence)
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
local GIVEN_UP = { failed = true, voided = true, declined = true }


function payment.taken_over()
  return err.new("conflict", "another worker completes this cart", { retryable = true })
end


-- The rows of the cart and of the flow are locked to the end: whoever takes one over does so
-- before, or finds it sent.
local function begin_to_send(p, fields, env)
  local row, gate = env.saga, env.gate
  if not row and not gate then return move(p, "send", fields) end
  local was = p.state
  return sql.transaction(function(tx)
    p.state = was -- a deadlock runs it again
    if gate then
      local open, e2 = gate(tx)
      if not open then return nil, e2 end
      return move(p, "send", fields, tx)
    end
    local ours, e3 = carts.is_claimed(tx, p.cart_id, env.claim)
    if not ours then return nil, e3 or payment.taken_over() end
    local now, e = sagas.lock(tx, row.id)
    if now == nil then return nil, e end
    if not now or now.claim ~= row.claim or now.state ~= "running" then
      return nil, err.new("conflict", "another worker completes this cart", { is_moved = true })
    end
    return move(p, "send", fields, tx)
  end)
end


local function fence_of(env)
  return env.saga and env.saga.claim
end


-- Where it was given up while we were slow to ask, its money is nobody's: till.flow.late_payment.
-- So it may have been where the database took nothing; where it tells nothing either it is found by
-- till.flow.doubted.
local function write_down(p, answer, env)
  local ok, e = record(p, answer, fence_of(env))
  if ok then return to_result(p) end
  local now, e2 = as_it_is(p, e)
  local stored = e.is_moved and p or payments.get(p.id)
  if stored and GIVEN_UP[stored.state] then
    require("till.flow.late_payment").heard(stored, answer)
  end
  return now, e2
end


local function send(p, more, env)
  local is_resent = p.state ~= "created"
  local moved, e = begin_to_send(p, { data = more and more.data or p.data,
    fence = fence_of(env) }, env)
  if not moved then return as_it_is(p, e) end
  return write_down(p, ask(p, "payment.authorize", { is_resent = is_resent }), env)
end


-- An authorization is written down with the order that it pays for. Who dies before has a payment
-- that is `sending`: it is looked up.
local function ask_for_sent(p, env)
  env.sent = nil
  local answer = ask(p, "payment.authorize", { is_resent = false })
  if answer.outcome ~= "authorized" then return write_down(p, answer, env) end
  if answer.saved then saved_methods.keep(p, answer.saved) end
  answer.saved, env.heard = nil, { payment = p, answer = answer }
  return p
end


function payment.told(heard, env)
  local p, out = heard.payment, {}
  local fields = fields_of(p, heard.answer, fence_of(env))
  for name, value in pairs(p) do out[name] = value end
  for name, value in pairs(fields) do out[name] = value end
  out.state = heard.answer.outcome
  return out, fields
end


function payment.written(heard, env)
  return write_down(heard.payment, heard.answer, env)
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


-- It may be there later all the same: who asked was slow.
local LOST = { not_found = true, declined = true }


local function give_up(p, answer, fence)
  local was = p.state
  local done, e = sql.transaction(function(tx)
    p.state = was -- a deadlock runs it again
    local moved, e2 = move(p, answer.outcome, fields_of(p, answer, fence), tx)
    if moved then moved, e2 = doubts.add(tx, p.id) end
    if not moved then return nil, e2 end
    return p
  end)
  if not done then p.state = was end
  return done, e
end


--- Of one that is `sending`, `unknown` or waits for the shopper: what does the provider say?
function payment.settle(p, fence)
  local answer = ask(p, "payment.lookup")
  local why = answer.outcome == "not_found" and way.too_soon(p)
  if why then return nil, why end
  if answer.outcome == "unknown" or answer.outcome == p.state then
    if p.state == "sending" and way.until_ms(p) == false then
      local ok, e = move(p, "unknown", { fence = fence })
      if not ok then return as_it_is(p, e) end
    end
    return to_result(p)
  end
  local is_lost = way.STATES[p.state] and LOST[answer.outcome]
  local ok, e = (is_lost and give_up or record)(p, answer, fence)
  if not ok then return as_it_is(p, e) end
  return to_result(p)
end


function payment.authorize(p, env)
  if env.sent == p then return ask_for_sent(p, env) end
  if p.state == "created" then return send(p, nil, env) end
  if p.state == "requires_action" and env.payment_data then
    return send(p, { data = kept.with(p.data, env.payment_data) }, env)
  end
  if p.state == "sending" or p.state == "unknown" or p.state == "requires_action" then
    return payment.settle(p, fence_of(env))
  end
  return to_result(p)
end


-- Captured by somebody there, so it cannot be voided any more. The row says so before it is given
-- back: whoever goes on with it then asks for the refund alone.
local MONEY = { captured = true, refunded = true }


-- What had gone back there by itself is an event of its own: so reconciliation finds both. Who dies
-- behind it finds all of it given back there, and books what is left.
local function book_back_before(p, back)
  if not back then return true end
  return sql.transaction(function(tx)
    local ours, e = booking.lock(tx, p.id)
    if not ours then return nil, e end
    local now, e2 = booking.amounts(p.id, tx)
    if not now then return nil, e2 end
    if back <= now.refunded then return true end
    return booking.book(tx, p.id, { kind = "refunded", amount = back - now.refunded })
  end)
end


function payment.void(p)
  if p.state == "created" then return move(p, "void") end
  if payment.states.over[p.state] then return p end
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
    local ok, e2 = book_back_before(p, given_back.back_before)
    if not ok then return nil, e2 end
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
