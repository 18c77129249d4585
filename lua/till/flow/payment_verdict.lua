-- till/flow/payment_verdict - what became of a payment, by the word of staff, where its provider
-- never tells: its plugin is gone, the account is closed, it has forgotten.
--
--   look_up(id, as) -> true | nil, err     outside of a transaction, before it: what the provider
--                                          says wins. conflict with `provider_says`, where that is
--                                          another thing
--   give(tx, id, as, by) -> payment | nil, err     by { actor, reason, request_id }
--
--   as             of a payment that is                     then
--   captured       sending, unknown, requires_action,       it is booked as captured
--                  authorized; of any state, and a part     that part is, where it fits
--                  was asked for
--   not_captured   authorized, and its capture was asked    the next capture has a key of its own
--                  for; of any state, and a part was that
--                  was not booked since
--   voided         sending, unknown, requires_action,       nothing of it is held any more
--                  authorized of which no capture is open
--   not_found      sending, unknown, requires_action        it failed: it never got there; it is
--                                                           looked up all the same, as what was
--                                                           given up is (till.flow.doubted)
--   refunded       captured; won or lost, where the bank    all that is left has gone back
--                  left something of it
--
-- Written under the lock of the order, then of the payment: row, events, ledger, the order's
-- payment_status and timeline by till.flow.booking, and the audit. Nobody is asked for money. What
-- is so already is told as it is, and nothing is written. Of a cart whose flow is parked the flow
-- is retried afterwards: it goes on with what is known now.
local audit = require "till.store.audit"
local booking = require "till.flow.booking"
local cancellations = require "till.store.cancellations"
local captures = require "till.store.captures"
local captures_flow = require "till.flow.captures"
local conf = require "till.prim.conf"
local doubts = require "till.store.doubts"
local err = require "till.util.err"
local orders = require "till.store.orders"
local payment = require "till.flow.payment"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local result = require "till.flow.payment_result"
local time = require "till.prim.time"

local verdict = {}

local OPEN = { sending = true, unknown = true, requires_action = true }
local NOT_TAKEN = { sending = true, unknown = true, requires_action = true, authorized = true }
local FROM = { captured = NOT_TAKEN, voided = NOT_TAKEN, not_found = OPEN,
  not_captured = { authorized = true }, refunded = { captured = true, won = true, lost = true } }
-- What it comes to, and what a provider says then.
local ENDS = { captured = "captured", voided = "voided", not_found = "failed",
  refunded = "refunded" }
local SAYS = { captured = "captured", voided = "voided", not_found = "not_found",
  refunded = "refunded", not_captured = "authorized" }

verdict.KINDS = { "captured", "not_captured", "voided", "not_found", "refunded" }


local function conflict(message, fields)
  return nil, err.new("conflict", message, fields)
end


local OF_PART = { captured = true, not_captured = true }


-- Of a payment that is captured in parts: the one that the verdict is about | false | nil, err
-- Whatever became of the payment meanwhile: a dispute, a refund or the end of its authorization is
-- no word on a part that was asked for.
local function part_of(p, as, tx)
  if not OF_PART[as] then return false end
  return captures.asked(p.id, tx)
end


-- What is on its way may be taken still: then nothing would be left for it.
local function has_open(p, tx)
  if p.state ~= "authorized" then return false end
  if p.capture_amount then return true end
  local part, e = captures.asked(p.id, tx)
  if part == nil then return nil, e end
  return part ~= false
end


-- What was asked for a moment ago may be taken still, whatever is seen there now.
local function may_be_taken(p, part)
  local asked_ms = time.parse(part and part.asked_at or p.updated_at)
  return asked_ms + conf.get("payments.not_found_after_ms") > time.now_ms()
end


-- -> true | false: it is so already | nil, err
local function allow(p, as, part, tx)
  if as == "not_captured" and (part or p.capture_amount) and may_be_taken(p, part) then
    return conflict("it was asked for a moment ago, and may be taken still: try again later")
  end
  if part then return true end
  if p.state == ENDS[as] then return false end
  if not FROM[as][p.state] then
    return conflict(("a payment that is %s cannot be resolved as %s"):format(p.state, as))
  elseif as == "not_captured" and not p.capture_amount then
    return conflict("no capture of it has an open outcome: capture it, or void it")
  elseif as == "voided" then
    local open, e = has_open(p, tx)
    if open == nil then return nil, e end
    if open then
      return conflict("a capture of it has no outcome yet: say captured or not_captured first")
    end
  end
  local until_ms, e = payment.on_its_way(p, tx)
  if until_ms == nil then return nil, e end
  if until_ms and (p.state == "sending" or as ~= "captured") then
    return conflict("it was sent a moment ago, and may be on its way still: try again later")
  end
  return true
end


local function read(payment_id, tx)
  local p, e = payments.get(payment_id, tx)
  if p == nil then return nil, e end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  return p
end


-- What he says of all parts together, compared with those before it.
local function check_part(p, as, part, seen)
  local before, e = payment_events.sum(p.id, "captured", part.since)
  if not before then return nil, e end
  local told = seen.captured_amount or seen.outcome == "authorized" and 0 or nil
  local wanted = as == "captured" and before + part.amount or before
  if not told or told == wanted then return true end
  return conflict(("%s says that %d was captured in all: that holds, and not %d"):format(
    p.provider, told, wanted), { provider_says = seen.outcome })
end


function verdict.look_up(payment_id, as)
  local p, e = read(payment_id)
  if not p then return nil, e end
  local part, e3 = part_of(p, as)
  if part == nil then return nil, e3 end
  local open, e2 = allow(p, as, part, nil)
  if open == nil then return nil, e2 end
  if not open then return true end
  local seen = payment.ask_lookup(p)
  if seen.outcome == "unknown" then return true end
  if part then return check_part(p, as, part, seen) end
  if seen.outcome ~= SAYS[as] then
    return conflict(("%s says that it is %s: that holds, and not %s"):format(p.provider,
      seen.outcome, as), { provider_says = seen.outcome })
  end
  local another = result.another(p, seen)
  if another then return conflict(another, { provider_says = seen.outcome }) end
  return true
end


-- Money that a cancellation, return or refund of ours is giving back is booked by that.
local function is_free(tx, p, order)
  if not order then return true end
  local list, e = cancellations.of_order(order.id, tx)
  if not list then return nil, e end
  for _, c in ipairs(list) do
    if c.payment_id == p.id and c.state == "pending" then
      return conflict(("%s is giving money of it back: resolve its saga"):format(c.id))
    end
  end
  return true
end


-- Another part cannot have been begun meanwhile, so what was booked since is this one.
local function is_not_booked(p, part, tx)
  if not part or not part.since or not payments.was_captured(p) then return true end
  local before, e = payment_events.sum(p.id, "captured", part.since, tx)
  if not before then return nil, e end
  if payments.to_capture(p) == before then return true end
  return conflict("it was booked as captured since it was asked for: say captured")
end


local function not_captured(tx, p, by, part)
  local free, e0 = is_not_booked(p, part, tx)
  if not free then return nil, e0 end
  local ok, e = payments.decline(p, tx)
  if not ok then return nil, e end
  local settled, e2 = captures.settle(tx, p.id, "refused", by.reason)
  if settled == nil then return nil, e2 end
  if p.order_id then
    ok, e = orders.event(tx, p.order_id, "capture_refused", by.actor,
      { payment_id = p.id, amount = part and part.amount or p.capture_amount, reason = by.reason })
  end
  if not ok then return nil, e end
  return payments.get(p.id, tx)
end


-- A webhook may have booked it meanwhile.
local function captured_part(tx, p, by, part)
  local settled, e = captures.settle(tx, p.id, "done")
  if settled == nil then return nil, e end
  local now, e2 = booking.own(tx, p.id, { kind = "captured", amount = part.amount,
    actor = by.actor, reason = by.reason, since = part.since,
    since_ms = time.parse(part.asked_at) })
  if not now then return nil, e2 end
  return captures_flow.ended(tx, part)
end


local function write(tx, p, order, as, by, part)
  if as ~= "captured" then
    local free, e = is_free(tx, p, order)
    if not free then return nil, e end
  end
  if as == "not_captured" then return not_captured(tx, p, by, part) end
  if part then return captured_part(tx, p, by, part) end
  local now, e = booking.book(tx, p.id, { kind = as, actor = by.actor, reason = by.reason,
    amount = as == "captured" and payments.to_capture(p) or nil })
  if now and as == "not_found" then
    local ok, e2 = doubts.add(tx, p.id, true)
    if not ok then return nil, e2 end
  end
  return now, e
end


function verdict.give(tx, payment_id, as, by)
  local p, order = booking.lock(tx, payment_id)
  if not p then return nil, order end
  local part, e4 = part_of(p, as, tx)
  if part == nil then return nil, e4 end
  local open, e = allow(p, as, part, tx)
  if open == nil then return nil, e end
  if not open then return p end
  local now, e2 = write(tx, p, order, as, by, part)
  if not now then return nil, e2 end
  local ok, e3 = audit.add({ actor = by.actor, action = "payment.resolve", subject = p.id,
    detail = { as = as, was = p.state, order_id = p.order_id, reason = by.reason },
    request_id = by.request_id }, tx)
  if not ok then return nil, e3 end
  return now
end


return verdict
