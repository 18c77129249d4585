-- till/flow/authorizations - money that is held and not captured, until its provider lets go of it.
--
--   run() -> how many were looked at | nil, err      every minute, once for all machines
--
-- Only where a provider has the capability `authorization_days`. Each payment is looked at
--
--   payments.expiry_alert_ms before its time   staff are told: payment.authorization_expires
--   when its time is over    the provider is asked, for a clock proves nothing:
--     voided                 booked (reason `expired`, or the provider's own), and
--                            payment.lost_authorization tells staff what to do
--     captured               by somebody there: booked; of one that was captured in part, as
--                            much as we know of: its rest is held no more, booked as voided
--     authorized             still; it is looked at again
--     anything else          no answer: it is looked at again
--
-- What is to be captured at once (capture policy `now`) and was not yet is captured first, both
-- times; but not what the provider has refused for good: that is for staff.
--
-- When a payment comes next is written down before anything is asked: one that fails for ever lets
-- the others pass, and who dies in between has left it to a later run. Booking is under the locks
-- of order and payment and fits once, so a webhook, a capture or staff at the same moment do no
-- harm. What is being voided by a cancellation is booked by that.
local alert_ends = require "till.flow.alert_ends"
local alerts = require "till.store.alerts"
local authorization_end = require "till.flow.authorization_end"
local booking = require "till.flow.booking"
local cancellations = require "till.store.cancellations"
local capabilities = require "till.flow.capabilities"
local capture_alerts = require "till.flow.capture_alerts"
local captures = require "till.flow.captures"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local lost_authorization = require "till.flow.lost_authorization"
local order_flow = require "till.flow.order"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local result = require "till.flow.payment_result"
local sql = require "till.prim.sql"
local store = require "till.store.authorizations"
local time = require "till.prim.time"

local authorizations = {}

local MOST, PLANNED, BUDGET_MS = 50, 500, 20000
local SOON_MS, LATER_MS = 600000, 3600000 -- no answer; an answer that changes nothing
local EXPIRES = "payment.authorization_expires"


local function is_to_be_captured(p)
  local policy = kept.policy(p)
  return p.order_id and policy and policy.capture == "now" and (p.capture_declines or 0) == 0
end


-- -> true where it is captured now
local function capture(p)
  if payments.was_captured(p) or not is_to_be_captured(p) then return false end
  local done, e = order_flow.capture(p.id, "system")
  if done then return true end
  log.warn("payment.expiry", { payment = p.id, provider = p.provider, error = tostring(e),
    next_step = "it is not captured yet; staff are told before its authorization ends" })
  return false
end


local function next_step(p)
  if not p.order_id then return "complete or void it: no order rests on it yet" end
  local what = (p.capture_declines or 0) > 0
    and "its capture was refused: see the order's timeline, then capture it again"
    or "capture it"
  return ("%s (POST /admin/v1/payments/%s/capture) before then, or cancel order %s"):format(what,
    p.id, p.order_id)
end


-- What of it is not captured yet.
local function rest_of(p)
  return payments.was_captured(p) and payments.left(p) or payments.to_capture(p)
end


-- Under the lock of the payment: nobody is told of one that was captured a moment ago.
local function tell(p, expires_ms)
  return sql.transaction(function(tx)
    local now, e = payments.lock(tx, p.id)
    if not now then return nil, e end
    if payments.left(now) == 0 or kept.is_let_go(now) then return true end
    local told, e2 = alerts.raise(tx, EXPIRES, p.id, { detail = { payment_id = p.id,
      order_id = p.order_id, cart_id = p.cart_id, provider = p.provider,
      reference = p.provider_ref, amount = rest_of(now), currency = p.currency,
      authorization_expires_at = time.rfc3339(expires_ms), next_step = next_step(now) } })
    return told ~= nil, e2
  end)
end


local function warn(p, expires_ms)
  if capture(p) then return true end
  local ok, e = tell(p, expires_ms)
  if not ok then return nil, e end
  return store.look_at(p.id, expires_ms)
end


local SEEN = {}


function SEEN.voided(p, seen)
  local busy, e = cancellations.is_voiding(p)
  if busy ~= false then return busy, e end
  local event = { kind = "voided", actor = "provider:" .. p.provider,
    amount = payments.was_captured(p) and payments.left(p) or nil,
    reason = seen.reason or "expired" }
  local ok, e2 = sql.transaction(function(tx)
    local booked, why = booking.book(tx, p.id, event)
    if not booked then return nil, why end
    if not booked.order_id then return true end
    p.order_id = booked.order_id -- all else as it was
    return lost_authorization.raise(tx, p, event)
  end)
  if not ok then return nil, e2 end
  alerts.close(EXPIRES, p.id)
  log.error("payment.lost_authorization", { payment = p.id, provider = p.provider,
    order = p.order_id, reason = event.reason })
  return true
end


-- Of parts of which we know he says that they were captured: then nothing is held besides.
local function of_rest(p, seen)
  local captured = payments.to_capture(p)
  if seen.captured_amount == captured then return SEEN.voided(p, seen) end
  return nil, err.new("conflict", ("%s says that %s was captured in all, and %d was here: look"
    .. " there"):format(p.provider, tostring(seen.captured_amount), captured))
end


function SEEN.captured(p, seen)
  if payments.was_captured(p) then return of_rest(p, seen) end
  local another = result.another(p, seen)
  if another then return nil, err.new("conflict", another) end
  local booked, e = sql.transaction(function(tx)
    return booking.book(tx, p.id, { kind = "captured", amount = payments.to_capture(p),
      actor = "provider:" .. p.provider, reason = "captured at the provider" })
  end)
  if not booked then return nil, e end
  return true
end


-- Held for longer than we thought; or the provider is slow to let go.
function SEEN.authorized(p, seen)
  if capture(p) then return true end
  local now_ms = time.now_ms()
  local told = seen.expires_at and time.parse(authorization_end.of(p, seen))
  if not told or told <= now_ms then return store.look_at(p.id, now_ms + LATER_MS) end
  alerts.close(EXPIRES, p.id)
  return store.look_at(p.id, math.max(told - conf.get("payments.expiry_alert_ms"),
    now_ms + SOON_MS), told)
end


function SEEN.unknown()
  return true -- it comes again
end


-- Its provider may have taken more than we have heard of: that has an end of its own, which says
-- what of it is booked.
-- -> payment, as it is then | nil, err
local function end_capture(p)
  local busy, e = sql.transaction(function(tx) return captures.is_busy(tx, p) end)
  if busy == false then return p end
  if busy == nil then return nil, e end
  local ok, e2 = captures.end_open(p)
  if not ok then return nil, e2 end
  return payments.get(p.id)
end


local function look(was)
  local p, e = end_capture(was)
  if not p then return nil, e end
  if payments.left(p) == 0 then return true end
  local seen = payment.ask_lookup(p)
  local fn = SEEN[seen.outcome]
  if seen.outcome == "voided" and payments.was_captured(p) then fn = nil end
  if fn then return fn(p, seen) end
  return nil, err.new("conflict", ("%s says that it is %s, and it is authorized here: look there,"
    .. " then resolve it"):format(p.provider, seen.outcome))
end


local function one(p)
  local expires_ms = time.parse(p.authorization_expires_at)
  local early_ms = expires_ms - conf.get("payments.expiry_alert_ms")
  if time.now_ms() < early_ms then return store.look_at(p.id, early_ms) end
  store.look_at(p.id, time.now_ms() + SOON_MS)
  if time.now_ms() < expires_ms then return warn(p, expires_ms) end
  return look(p)
end


local function of_provider(provider, days, until_ms)
  local planned, e = store.plan(provider, days, conf.get("payments.expiry_alert_ms"), PLANNED)
  if not planned then return nil, e end
  local ok, e3 = store.plan_rests(provider, days)
  if not ok then return nil, e3 end
  local list, e2 = store.due(provider, MOST)
  if not list then return nil, e2 end
  local n = 0
  for _, p in ipairs(list) do
    if time.mono_ms() > until_ms then break end
    n = n + 1
    local fine, done, why = pcall(one, p) -- one that throws keeps no other from being looked at
    if not fine then done, why = nil, done end
    if done == nil then
      log.error("payment.expiry", { payment = p.id, provider = provider, error = tostring(why),
        next_step = "it is looked at again; look at the provider" })
    end
  end
  return n
end


local function close_alerts()
  local ok, e = alert_ends.close(EXPIRES, "subject", payments.nothing_left)
  if ok then ok, e = capture_alerts.close() end
  if not ok then return nil, e end
  return alert_ends.close(lost_authorization.ALERT, "order_id", store.over)
end


--- A provider that cannot be asked keeps no other from being looked at.
function authorizations.run()
  local until_ms, n, failed = time.mono_ms() + BUDGET_MS, 0, nil
  for _, provider in ipairs(capabilities.providers()) do
    local days = capabilities.of(provider).authorization_days
    if days then
      local seen, e = of_provider(provider, days, until_ms)
      n, failed = n + (seen or 0), failed or e
    end
  end
  local ok, e = close_alerts()
  if failed or not ok then return nil, failed or e end
  return n
end


return authorizations
