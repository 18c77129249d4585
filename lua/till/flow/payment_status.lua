-- till/flow/payment_status - how the money of an order stands, by the sums over its payments.
--
--   of(list) -> payment_status | nil      list { { authorized, captured, refunded, awaited } } in
--                                         minor units; nil: no payment of it says anything
--   amounts(payment) -> one of the list   as the row of till.store.payments says
--   move(order, payments [, lost, is_added]) -> event of payment_status in till.flow.order_states |
--                                         nil: it stays. lost: minor units that no payment of it
--                                         will ever bring and that are owed still: it is paid in
--                                         part then. is_added: a new payment is one of them
--   move_back(order, payments) -> the same, after a refund of one of them failed
--   told(order, payment, amount, from, move) -> events of the outbox, after that move from there;
--                                         amount: what was captured of the payment, or nil
--   again(order, payment) -> event    that payment pays for it once more
--   pays(from, move) -> is the order paid in full with it?
--
-- `authorized` is what was taken and what may still be: less what was let go. `awaited`: it is paid
-- outside, and nothing of it is there. Pure.
local kept = require "till.flow.payment_kept"
local payments = require "till.store.payments"

local payment_status = {}


function payment_status.of(list)
  local authorized, captured, refunded, awaited = 0, 0, 0, false
  for _, one in ipairs(list) do
    awaited = awaited or one.awaited
    authorized, captured = authorized + one.authorized, captured + one.captured
    refunded = refunded + one.refunded
  end
  if not list[1] then return nil end
  if authorized == 0 then return "voided" end
  if awaited then return "awaiting" end
  if captured == 0 then return "authorized" end
  if captured < authorized then return "partially_captured" end
  if refunded == 0 then return "captured" end
  return refunded < captured and "partially_refunded" or "refunded"
end


local SAYS_NOTHING = { created = true, sending = true, unknown = true, requires_action = true,
  declined = true, failed = true }


local function is_awaited(p)
  return p.state == "authorized" and payments.left(p) > 0
    and (kept.policy(p) or {}).offline == true
end


function payment_status.amounts(p)
  if SAYS_NOTHING[p.state] then return nil end
  local captured = payments.was_captured(p) and payments.to_capture(p) or 0
  return { authorized = captured + payments.left(p), captured = captured,
    refunded = p.refunded_amount or 0, awaited = is_awaited(p) or nil }
end


-- What is awaited is not there before it was captured, and money that was taken is not untaken.
-- What was paid already may go back meanwhile, and what is awaited may be let go of.
local EVENTS = {
  awaiting = { authorized = "authorize", captured = "capture", partially_captured = "capture_part",
    partially_refunded = "refund_part", refunded = "refund_rest", voided = "void" },
  authorized = { captured = "capture", partially_captured = "capture_part", voided = "void" },
  partially_captured = { captured = "capture", partially_refunded = "refund_part",
    refunded = "refund_rest" },
  captured = { partially_refunded = "refund_part", refunded = "refund_rest" },
  partially_refunded = { refunded = "refund_rest" },
}
-- What went back did not get there.
local BACK = {
  partially_refunded = { captured = "refund_failed" },
  refunded = { captured = "refund_failed", partially_refunded = "refund_failed_part" },
}
-- What was over goes on with a new payment.
local ADDED = { awaiting = "await_again", authorized = "authorize_again",
  captured = "capture_again", partially_captured = "add", partially_refunded = "add_refunded" }
local IS_PAID = { captured = true, partially_refunded = true, refunded = true }


local function sum_up(list)
  local sums = {}
  for _, p in ipairs(list) do sums[#sums + 1] = payment_status.amounts(p) end
  return payment_status.of(sums)
end


function payment_status.move_back(order, list)
  return BACK[order.payment_status] and BACK[order.payment_status][sum_up(list)]
end


-- One that was paid before anything was lost stays so.
function payment_status.move(order, list, lost, is_added)
  local from, to = order.payment_status, sum_up(list)
  if from == "voided" and not is_added then return nil end
  if (lost or 0) > 0 and IS_PAID[to] and not IS_PAID[from] then to = "partially_captured" end
  if not to or to == from then return nil end
  return EVENTS[from] and EVENTS[from][to] or is_added and ADDED[to] or nil
end


local NOT_PAID = { awaiting = true, authorized = true, partially_captured = true }


function payment_status.pays(from, move)
  if move == "capture" or move == "capture_again" then return true end
  if move == "add_refunded" then return from == "voided" end
  return move == "refund_part" and NOT_PAID[from] or false
end


function payment_status.again(order, p)
  return { aggregate = "order:" .. order.id, type = "order.paid_again",
    payload = { order_id = order.id, payment_id = p.id } }
end


-- Of one that is cancelled nobody is told that it is paid. Of any it is told once: who sends goods
-- for it, or a bill, does so once. What pays for it after that (a bank took the first back, say) is
-- told apart. order.is_paid_first: by this move (till.flow.order_states), or that is still to come.
function payment_status.told(order, p, amount, from, move)
  local aggregate, payload = "order:" .. order.id, { order_id = order.id }
  if payment_status.pays(from, move) then
    if order.status == "cancelled" then return {} end
    if order.is_paid_first or not order.paid_at then
      return { { aggregate = aggregate, type = "order.paid", payload = payload } }
    end
    return { payment_status.again(order, p) }
  elseif amount and payments.left(p) > 0 then
    payload.payment_id, payload.amount, payload.currency = p.id, amount, p.currency
    return { { aggregate = aggregate, type = "payment.captured_part", payload = payload } }
  end
  return {}
end


return payment_status
