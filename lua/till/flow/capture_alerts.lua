-- till/flow/capture_alerts - captures that staff have to see to.
--
--   refused(tx, payment, amount, reason) -> true | nil, err     goods are on their way, and what
--       they come to was not captured. payment.capture_refused; ends when nothing is left to be
--       captured
--   by_job(tx, payment, capture, reason) -> true | nil, err     the same of one that nobody waits
--       for, in the timeline too
--   does_not_fit(capture, e) -> true | nil, err    the provider has captured what our books cannot
--       take: e says why. payment.capture_unbooked; ends when the capture has an outcome
--   close() -> true | nil, err     those that are over, every minute
--
-- Amounts in minor units. Both are of a payment: one that is open already is told once.
local alert_ends = require "till.flow.alert_ends"
local alerts = require "till.store.alerts"
local log = require "till.prim.log"
local orders = require "till.store.orders"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local store = require "till.store.captures"

local capture_alerts = { REFUSED = "payment.capture_refused",
  UNBOOKED = "payment.capture_unbooked" }


local function raise(tx, kind, p, amount, reason, next_step)
  local raised, e = alerts.raise(tx, kind, p.id, { detail = { payment_id = p.id,
    order_id = p.order_id, provider = p.provider, amount = amount, currency = p.currency,
    reference = p.provider_ref, reason = reason, next_step = next_step } })
  if raised == nil then return nil, e end
  return true
end


function capture_alerts.refused(tx, p, amount, reason)
  return raise(tx, capture_alerts.REFUSED, p, amount, reason,
    ("look at the provider, then capture it (POST /admin/v1/payments/%s/capture), or cancel what of"
    .. " order %s was not sent; money for what was sent is owed still"):format(p.id, p.order_id))
end


function capture_alerts.by_job(tx, p, c, reason)
  local ok, e = orders.event(tx, c.order_id, "capture_refused", "system",
    { payment_id = p.id, capture_id = c.id, amount = c.amount, reason = reason })
  if not ok then return nil, e end
  return capture_alerts.refused(tx, p, c.amount, reason)
end


function capture_alerts.does_not_fit(c, why)
  local ok, e = sql.transaction(function(tx)
    local p, e = payments.get(c.payment_id, tx)
    if not p then return nil, e end
    return raise(tx, capture_alerts.UNBOOKED, p, c.amount, why.message,
      ("the provider took %d that does not fit here: give it back there, then resolve the payment"
      .. " as not_captured (POST /admin/v1/payments/%s/resolve)"):format(c.amount, p.id))
  end)
  if not ok then return nil, e end
  log.error("payment.capture_unbooked", { payment = c.payment_id, capture = c.id,
    order = c.order_id, error = tostring(why) })
  return true
end


function capture_alerts.close()
  local ok, e = alert_ends.close(capture_alerts.REFUSED, "subject", payments.nothing_left)
  if not ok then return nil, e end
  return alert_ends.close(capture_alerts.UNBOOKED, "subject", store.not_asked)
end


return capture_alerts
