-- till/flow/doubted - payments that were given up while they may have been on their way still: he
-- who asked for it was slow, and the provider knew of nothing when somebody else looked.
--
--   doubted.run() -> how many were looked at | nil, err     with server:sweep-payments
--   doubted.ALERT            `payment.doubted`; it ends with till.flow.sweep
--
-- Who asked hears in the end, and lets go of what is held (till.flow.late_payment). Where he dies
-- over it, or the database takes nothing from him, nobody else knows. So that a payment was given
-- up is written down with a doubt (till.store.doubts), and it is looked up three times more. What
-- is held is let go of there, and told.
--
-- Where the provider says nothing it comes again, and staff hear of it after six hours. Where the
-- plugin is not loaded any more nobody can be asked: staff hear at once, and it is left alone until
-- the plugin is back; then it is due.
local alerts = require "till.store.alerts"
local conf = require "till.prim.conf"
local dispatch = require "till.plugin.dispatch"
local doubts = require "till.store.doubts"
local late_payment = require "till.flow.late_payment"
local log = require "till.prim.log"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local ALERT = "payment.doubted"
local doubted = { ALERT = ALERT }

local MOST, BUDGET_MS = 50, 10000
local SILENT_MS = 6 * 3600000
local GIVEN_UP = { failed = true, declined = true }


local function tell(p, reason, next_step)
  log.error("payment.doubted", { payment = p.id, provider = p.provider, reason = reason,
    next_step = next_step })
  return sql.transaction(function(tx)
    local opened, e = alerts.raise(tx, ALERT, p.id, { detail = { payment_id = p.id,
      cart_id = p.cart_id, provider = p.provider, reference = p.provider_ref, amount = p.amount,
      currency = p.currency, reason = reason, next_step = next_step } })
    if opened == nil then return nil, e end
    return doubts.told(tx, p.id)
  end)
end


local function is_settled(p)
  return p.order_id ~= nil or not GIVEN_UP[p.state]
end


local function tell_silence(p, e)
  local since = p.silent_since and time.parse(p.silent_since)
  if p.told or not since or time.now_ms() - since < SILENT_MS then
    return log.error("payment.doubted", { payment = p.id, provider = p.provider,
      error = tostring(e), next_step = "it is looked at again; look at the provider" })
  end
  local told, e2 = tell(p, "its provider has not said for six hours whether it holds anything: "
    .. tostring(e), "look for it at the provider and let go there of what is held; it is looked up"
    .. " until the provider says that nothing is")
  if not told then log.warn("payment.doubted", { payment = p.id, error = tostring(e2) }) end
end


local function look(p)
  if is_settled(p) then return doubts.drop(p.id) ~= nil end
  local done, e = late_payment.look(p)
  if done then done, e = doubts.looked(p) end
  if done then return true end
  tell_silence(p, e)
  return false
end


-- ---- whose plugin is gone --------------------------------------------------------------------

local function gone(p)
  if is_settled(p) then return doubts.drop(p.id) end
  return tell(p, ("it was given up and may have got there all the same, and the plugin payment-%s"
    .. " is not loaded, so its provider cannot be asked"):format(p.provider), ("load payment-%s"
    .. " again: it is looked up within a minute; or look there for the cart and the amount, and let"
    .. " go of what is held"):format(p.provider))
end


local function tell_of_gone(providers)
  local list, e = doubts.alone(providers, MOST)
  if not list then return nil, e end
  for _, p in ipairs(list) do
    local ok, e2 = gone(p)
    if not ok then return nil, e2 end
  end
  return true
end


local function loaded()
  local out = {}
  for _, name in ipairs(dispatch.names "payment.lookup") do
    local provider = name:match "^payment%-(.+)$"
    if provider and dispatch.has("payment.lookup", name) then out[#out + 1] = provider end
  end
  return out
end


-- ---- marks of servers of before --------------------------------------------------------------

local MARKED_MS, HOUR_MS, OVERLAP_MS, TAKING_MS = 3 * 86400000, 3600000, 600000, 2000
local taken_ms, takes_at_ms -- of this worker: up to when they were taken over, when again

-- By the hour, for nobody knows how many payments were refused. What fails is tried again.
local function take_over()
  local now, until_ms = time.now_ms(), time.mono_ms() + TAKING_MS
  taken_ms = taken_ms or now - MARKED_MS - conf.get("payments.sweep_after_ms")
  if takes_at_ms and now < takes_at_ms then return end
  repeat
    local to = math.min(now + 1, taken_ms + HOUR_MS)
    local ok, e = doubts.take_over(taken_ms, to)
    if not ok then return log.warn("payment.doubted", { error = tostring(e) }) end
    taken_ms = to
    if to > now then
      taken_ms, takes_at_ms = now - OVERLAP_MS, now + HOUR_MS
      return
    end
  until time.mono_ms() > until_ms
end


function doubted.run()
  take_over()
  local providers = loaded()
  local told, e0 = tell_of_gone(providers)
  if not told then return nil, e0 end
  local list, e = doubts.due(providers, MOST)
  if not list then return nil, e end
  local until_ms, n = time.mono_ms() + BUDGET_MS, 0
  for _, p in ipairs(list) do
    if time.mono_ms() > until_ms then break end
    doubts.touch(p.id) -- before it: one that fails for ever lets the others pass
    if look(p) then n = n + 1 end
  end
  return n
end


return doubted
