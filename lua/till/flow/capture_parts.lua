-- till/flow/capture_parts - asks a provider about a part of a payment; nothing is written.
--
--   ask_capture(payment, capture) -> answer, with capture_ref where there is one | nil, err
--       capture as till.store.captures has it. payment_declined; unknown_outcome, final where only
--       staff can say what became of it
--   ask_release(payment) -> true | nil, err    of what is held and will not be captured, after
--       parts were
--
-- The id of the part makes its key, so it is safe to ask again. A lookup tells only of all parts
-- together: it is compared with what was captured before and this one.
local capabilities = require "till.flow.capabilities"
local err = require "till.util.err"
local payment = require "till.flow.payment"
local payment_events = require "till.store.payment_events"
local result = require "till.flow.payment_result"
local time = require "till.prim.time"

local capture_parts = {}

local KEY_MS = 23 * 3600000 -- providers know a key for a day
local TAKEN = { captured = true, authorized = true, refunded = true }


local function stays(message)
  return nil, err.new("unknown_outcome", message, { final = true })
end


local function look(p, c, is_old)
  local seen = payment.ask(p, "payment.lookup")
  local before, e = payment_events.sum(p.id, "captured", c.since)
  if not before then return nil, e end
  local told, all = TAKEN[seen.outcome] and seen.captured_amount, before + c.amount
  if told == all then return seen end
  if told and told > all then
    return stays(("%s says that %d was captured, and it was to be %d: look there, and resolve it by"
      .. " hand"):format(p.provider, told, all))
  elseif is_old then
    return stays("the provider may have forgotten the key of this capture: look there, and resolve"
      .. " it by hand")
  end
  return nil, result.no_answer(p)
end


function capture_parts.ask_capture(p, c)
  local is_old = time.now_ms() - time.parse(c.asked_at or c.created_at) > KEY_MS
  if is_old then return look(p, c, true) end
  local answer = payment.ask(p, "payment.capture", { amount = c.amount, final = c.final,
    -- linear: an id of ours
    idem_key = p.idem_key .. "-capture-" .. c.id:match("[^_]*$") })
  if answer.outcome == "captured" then return answer end
  if answer.outcome == "unknown" then return look(p, c, false) end
  return nil, err.new("payment_declined", "the provider refused: " .. tostring(answer.reason),
    { final = true, reason = answer.reason })
end


function capture_parts.ask_release(p)
  if not capabilities.can(p.provider, "void") then return true end
  local answer = payment.ask(p, "payment.void", { idem_key = p.idem_key .. "-void-rest" })
  if answer.outcome == "voided" then return true end
  if answer.outcome == "unknown" then return nil, result.no_answer(p) end
  return nil, err.new("payment_declined", "the provider refused: " .. tostring(answer.reason),
    { final = true })
end


return capture_parts
