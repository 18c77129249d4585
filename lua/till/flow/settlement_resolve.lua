-- till/flow/settlement_resolve - payments of a period whose outcome nobody knows, or that are money
-- without an order.
--
--   run(s, keep) -> true | nil, err       s a settlement (till.store.settlements); keep() -> true |
--                                         nil, err before each: is the run still ours?
--
-- They are looked up, and where there is money and no order the cart is completed or the money
-- given back (till.flow.settled). What does not end now is told, and looked at by the next run.
local alerts = require "till.store.alerts"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local settled = require "till.flow.settled"
local settlements = require "till.store.settlements"
local sql = require "till.prim.sql"

local resolve = {}

local WITHOUT = "settlement.without_order"
local SOME = 50
local PAID = { authorized = true, captured = true }


local function tell(s, p, outcome, e)
  metrics.add("till_settlement_resolved_total", { provider = s.provider, outcome = outcome }, 1)
  log.warn(WITHOUT, { provider = s.provider, payment_id = p.id, cart_id = p.cart_id,
    outcome = outcome, error = e and tostring(e) or nil })
  local ok, e2 = sql.transaction(function(tx)
    local opened, e3 = alerts.raise(tx, WITHOUT, p.id, { detail = { payment_id = p.id,
      cart_id = p.cart_id, order_id = p.order_id, amount = p.amount, currency = p.currency,
      reason = outcome } })
    if opened == nil then return nil, e3 end
    return true
  end)
  if not ok then return nil, e2 end
  if outcome ~= "open" then
    alerts.close(WITHOUT, p.id)
    local noted, e3 = settlements.resolved(s)
    if noted == nil then return nil, e3 end
  end
  return true
end


local function go_on_with(s, p)
  local done, e = settled.go_on(p)
  if not done and err.is(e, "completion_in_progress") then return true end
  local now, e2 = payments.get(p.id)
  if not now then return nil, e2 end
  local outcome = now.order_id and "order" or PAID[now.state] and "open" or "given_back"
  return tell(s, now, outcome, not done and e or nil)
end


local function look_up(s, p)
  if not PAID[p.state] then payment.settle(p) end
  if p.order_id or not PAID[p.state] or kept.is_let_go(p) then return true end
  return go_on_with(s, p)
end


function resolve.run(s, keep)
  local after
  repeat
    local list, e = settlements.to_resolve(s, after, SOME)
    if not list then return nil, e end
    for _, p in ipairs(list) do
      after = p.id
      local ok, e2 = keep()
      if ok then ok, e2 = look_up(s, p) end
      if not ok then return nil, e2 end
    end
  until #list < SOME
  return true
end


return resolve
