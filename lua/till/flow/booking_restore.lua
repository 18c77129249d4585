-- till/flow/booking_restore - events that a server from before they were kept has not written.
--
--   missing(payment, list) -> { { kind, amount, reason, actor }, … }    what leads from the events
--       of `list` (till.store.payment_events) to what the row says; none where they come to it.
--       Pure: whoever holds the row writes them down, whoever only reads adds them to what he read
--
-- Such a server moves the row alone, until the last of it is gone. As sql/0021_payment_events has
-- it: the row says how it stands, and not in which steps it came to be so.
local attempt = require "till.prim.attempt"
local payments = require "till.store.payments"

local restore = {}

local OF_OLD = { captured = true, refunded = true } -- it knew of no dispute
local NO_MONEY = { unknown = "unknown", requires_action = "requires_action",
  declined = "declined", failed = "not_found" }


local function is_short(p, list, seen)
  if not list[1] or seen.state ~= p.state then return true end
  local captured = OF_OLD[p.state] and payments.to_capture(p) or 0
  return seen.captured < captured or seen.refunded < (p.refunded_amount or 0)
end


-- What will not be captured, where all of it was let go the provider is still to be asked.
local function voided_of(p)
  if OF_OLD[p.state] then return p.amount - payments.to_capture(p) end
  if p.state ~= "authorized" or p.released_amount == p.amount then return 0 end
  return p.released_amount
end


local function money(p, seen, add)
  if seen.authorized == 0 then add("authorized", p.amount) end
  if p.state == "voided" then return add("voided", p.amount - seen.voided) end
  add("voided", voided_of(p) - seen.voided)
  if not OF_OLD[p.state] then return end
  add("captured", payments.to_capture(p) - seen.captured)
  add("refunded", p.refunded_amount - seen.refunded)
end


function restore.missing(p, list)
  local seen = attempt.fold(list)
  if not is_short(p, list, seen) then return {} end
  local out = {}
  local function add(kind, amount)
    if amount == nil or amount > 0 then
      out[#out + 1] = { kind = kind, amount = amount, reason = p.reason, actor = "migration" }
    end
  end
  if not list[1] then add("created", p.amount) end
  local was_sent = seen.state ~= "none" and seen.state ~= "created"
  local is_paid = OF_OLD[p.state] or p.state == "authorized"
    or p.state == "voided" and (p.order_id or seen.authorized > 0)
  if not was_sent and (is_paid or NO_MONEY[p.state] or p.state == "sending") then add "send" end
  if is_paid then
    money(p, seen, add)
  elseif p.state == "voided" or NO_MONEY[p.state] then
    add(NO_MONEY[p.state] or "voided")
  end
  return out
end


return restore
