-- till/flow/amount_due - what of an order that was placed is to be paid with a new payment.
--
--   of(order [, tx]) -> { due, owed, lost, request, payments } | nil, err
--       due: minor units that the shopper is asked for; owed: that nothing holds and nothing is to
--       bring; lost: that banks took back for good; request: of till.store.payment_requests or
--       false; payments: those that the order has, the last-made first
--   most(found) -> minor units     that may be asked for: where the shop holds more than is owed,
--                       that pays for what was lost first
--   lower(tx, order) -> true | nil, err     less is owed by now: no more than that stays asked for,
--       so that what is owed once more is not due before staff say so
--   owes_less(was, now) -> boolean    a payment of it, before and after
--   sessions(order [, tx]) -> payments that were begun for it and are not its own yet, the newest
--       first, number that were begun for it in all | nil, err
--   firm(sessions [, but]) -> minor units that are on their way, or there: another one is of the
--       rest
--
-- Under the lock of the order it holds until the end of tx; else it is what was so a moment ago.
local figures = require "till.flow.cancellation_figures"
local kept = require "till.flow.payment_kept"
local ledger = require "till.store.ledger"
local parts = require "till.flow.payment_parts"
local payments = require "till.store.payments"
local requests = require "till.store.payment_requests"

local amount_due = {}


--- By account, so that who takes from them knows which.
function amount_due.losses(order_id, tx)
  local entries, e = ledger.of_order(order_id, tx)
  if not entries then return nil, e end
  local out, sum = {}, 0
  for _, entry in ipairs(entries) do
    if entry.account:find "^losses:" then
      out[entry.account] = (out[entry.account] or 0) + entry.amount
      sum = sum + entry.amount
    end
  end
  return out, sum
end


function amount_due.most(found)
  return math.max(0, found.owed + found.lost)
end


local function due_of(order, found)
  if not found.request or order.status == "cancelled" then return 0 end
  return math.min(found.request.amount, amount_due.most(found))
end


function amount_due.of(order, tx)
  local asked, e = requests.get(order.id, tx)
  if asked == nil then return nil, e end
  local list, e2 = payments.of_order(order.id, tx)
  if not list then return nil, e2 end
  local owed, e3 = figures.owed(tx, order, list)
  if not owed then return nil, e3 end
  local accounts, lost = amount_due.losses(order.id, tx)
  if not accounts then return nil, lost end
  local found = { request = asked, payments = list, owed = owed, lost = lost }
  found.due = due_of(order, found)
  return found
end


function amount_due.lower(tx, order)
  local asked, e = requests.get(order.id, tx)
  if not asked then return asked == false or nil, e end
  local found, e2 = amount_due.of(order, tx)
  if not found then return nil, e2 end
  return requests.lower(tx, order.id, order.status == "cancelled" and 0 or amount_due.most(found))
end


--- Of a payment of it before and after: does the order owe less by that? What was held and is
--- captured was not owed before either.
function amount_due.owes_less(was, now)
  local function sum(p)
    local captured = payments.was_captured(p) and payments.to_capture(p) or 0
    return captured - (p.refunded_amount or 0) + payments.left(p)
  end
  return sum(now) > sum(was)
end


function amount_due.sessions(order, tx)
  local list, e = payments.of_cart(order.cart_id, tx)
  if not list then return nil, e end
  local out, begun = {}, 0
  for _, p in ipairs(list) do
    local is_for_it = kept.order(p) == order.id
    local ours = not p.order_id and is_for_it
    begun = begun + (is_for_it and 1 or 0)
    if ours and parts.LIVE[p.state] and not kept.is_let_go(p) then out[#out + 1] = p end
  end
  return out, begun
end


local NOT_SENT = { created = true, requires_action = true }


function amount_due.firm(sessions, but)
  local sum = 0
  for _, p in ipairs(sessions) do
    if p.id ~= but and not NOT_SENT[p.state] then sum = sum + p.amount end
  end
  return sum
end


return amount_due
