-- till/flow/alert_by_hand - alerts that staff end, for nothing else does.
--
--   close(tx, id, by) -> the alert, closed | nil, err      by { actor, reason, request_id }; one
--                          that is closed already is told as it is, and nothing is written
--
--   refund.failed of a refund that no row of the shop is of     ends by itself only with one refund
--                          of as much
--   settlement.missing_here   ends by itself only with a run that matches it; what is not the
--                          shop's, or was let go of there, is never matched. A later run of the
--                          same days tells of it again
--
-- Any other tells of what is so still. It ends with that, and would begin again.
local alerts = require "till.store.alerts"
local audit = require "till.store.audit"
local err = require "till.util.err"
local refund_failure = require "till.flow.refund_failure"

local by_hand = {}

local PAYMENT = "pay_"
local BY_HAND = { [refund_failure.ALERT] = true, ["settlement.missing_here"] = true }


local function allow(row)
  if not BY_HAND[row.kind] then
    return nil, err.new("conflict", ("an alert %s ends when what it tells of has ended"
      .. " (docs/operations.md): see to that"):format(row.kind))
  end
  if row.kind == refund_failure.ALERT and row.subject:sub(1, #PAYMENT) ~= PAYMENT then
    return nil, err.new("conflict", ("%s waits for its money, so it is not ended by hand: %s")
      :format(row.subject, row.detail.next_step or "retry or resolve its flow"))
  end
  return true
end


function by_hand.close(tx, alert_id, by)
  local row, e = alerts.lock(tx, alert_id)
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no alert of that number") end
  if row.state == "closed" then return row end
  local ok, e2 = allow(row)
  if not ok then return nil, e2 end
  ok, e2 = alerts.end_by_hand(tx, row, by)
  if ok then
    ok, e2 = audit.add({ actor = by.actor, action = "alert.close", subject = row.subject,
      detail = { alert_id = row.id, kind = row.kind, reason = by.reason },
      request_id = by.request_id }, tx)
  end
  if not ok then return nil, e2 end
  return alerts.lock(tx, alert_id)
end


return by_hand
