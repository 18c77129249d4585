-- till/flow/webhook_due - what of a provider's answer is not in our books yet.
--
--   due(answer, payment, amounts [, list]) -> events, as till.flow.booking takes them | nil, err
--                       answer as webhook.apply gives it; amounts: booking.amounts of the payment;
--                       list: its payment_events, where they were read already
--   another_capture(answer, payment, amounts) -> a sentence, where it was captured there with
--                       another amount than was to be captured | nil
--   differs(answer, payment, group) -> which field of the payment is another one | nil
local cancellations = require "till.store.cancellations"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"

local webhook_due = {}


-- How much of a running sum is new; under a reference of its own where it grew.
local function rest_of(event, booked)
  local out = { kind = event.kind, amount = event.sum - booked, fee = event.fee,
    at_ms = event.at_ms, reason = event.reason, reference = event.reference }
  if booked > 0 then out.reference = ("%s:%d"):format(event.reference, event.sum) end
  return out
end


-- Our own flow booked it, without the provider's name of it or his fee.
local function is_to_be_named(event, p, list)
  local e
  if not list then list, e = payment_events.of(p.id) end
  if not list then return nil, e end
  for _, known in ipairs(list) do
    local is_it = known.reference == event.reference
      or known.reference == nil and known.amount == event.sum
    if known.event == event.kind and is_it then
      return known.reference == nil or known.fee == nil and event.fee ~= nil
    end
  end
  return false
end


local function add_sum(out, event, p, booked, list)
  if event.sum > booked then
    out[#out + 1] = rest_of(event, booked)
    return true
  end
  if event.sum < booked then return true end
  local named, e = is_to_be_named(event, p, list)
  if named == nil then return nil, e end
  if named then out[#out + 1] = rest_of(event, 0) end
  return true
end


-- What is left of it is gone there. A part that was let go before has no reference, and is not it.
local function add_void(out, event, p, amounts)
  if amounts.captured > 0 or amounts.left == 0 then return true end
  local busy, e = cancellations.is_voiding(p)
  if busy == nil then return nil, e end
  if busy then return true end
  if amounts.voided > 0 then event.reference = nil end
  out[#out + 1] = event
  return true
end


function webhook_due.due(answer, p, amounts, list)
  local out = {}
  for _, event in ipairs(answer.events or {}) do
    if event.sum then
      local ok, e = add_sum(out, event, p, amounts[event.kind], list)
      if not ok then return nil, e end
    elseif event.kind == "voided" then
      local ok, e = add_void(out, event, p, amounts)
      if not ok then return nil, e end
    else
      out[#out + 1] = event
    end
  end
  return out
end


-- The order is not paid by that, and what is to be done only staff can say.
function webhook_due.another_capture(answer, p, amounts)
  for _, event in ipairs(answer.events or {}) do
    local wanted = payments.to_capture(p)
    if event.kind == "captured" and amounts.captured == 0 and event.sum ~= wanted then
      return ("it was captured with %s there, and %d was to be captured: give back or capture what"
        .. " differs"):format(tostring(event.sum), wanted)
    end
  end
end


-- While he pays on a page of the provider's ours has that page's reference, and what came of it
-- later.
function webhook_due.differs(answer, p, group)
  if "payment-" .. p.provider ~= group.provider then return "provider" end
  if p.cart_id ~= answer.cart_id then return "cart" end
  if p.currency ~= answer.currency then return "currency" end
  if p.amount ~= answer.amount then return "amount" end
  local ref, page = p.provider_ref, answer.page_prefix
  if not ref or ref == answer.provider_ref then return nil end
  if page and ref:sub(1, #page) == page then return nil end
  return "reference"
end


return webhook_due
