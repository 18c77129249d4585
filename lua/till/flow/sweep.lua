-- till/flow/sweep - payments that were left: nobody came back from his bank, or died over it, and
-- what held the goods is over. Their money is let go of.
--
--   sweep.run() -> how many were let go | nil, err       every minute, once for all machines
--   sweep.release(p) -> true | false: somebody pays with it just now | nil, err     one, by staff
--
-- Each is looked up. Where the provider says nothing it comes again (payments.sweep_after_ms);
-- staff hear of it after six hours (payment.silent). What was paid becomes an order where the cart
-- still be bought (till.flow.settled); else it is voided or refunded: that it pays for nothing any
-- more, and the event that tells staff (payment.abandoned), are written down before the provider is
-- asked, so who dies in between has left it to the next pass. Who comes back to the cart hears that
-- it was let go, and pays again.
--
-- The cart is claimed for it as by a completion, and a cart whose flow runs, waits or is parked is
-- left alone: that flow settles it. A completion that starts at the same moment is refused while
-- we have the claim. Where we have lost the claim, the payment is not marked; and who gets the cart
-- after us reads the mark, and pays with another one. So it never is both order and refund.
--
-- What was given up and may have been on its way is looked up once more: till.flow.doubted.
--
-- The alerts end with a pass after that: payment.silent once the outcome is known, payment.doubted
-- once its provider has spoken, the others once the money has gone back, or has its order.
local abandoned = require "till.store.abandoned"
local alert_ends = require "till.flow.alert_ends"
local alerts = require "till.store.alerts"
local carts = require "till.store.carts"
local conf = require "till.prim.conf"
local doubted = require "till.flow.doubted"
local doubts = require "till.store.doubts"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local sagas = require "till.store.sagas"
local settled = require "till.flow.settled"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local sweep = {}

local MOST, BUDGET_MS, CLAIM_MS = 50, 20000, 120000
local UNFINISHED = { running = true, waiting = true, parked = true }
local MONEY = { authorized = true, captured = true }
local WAITS = { requires_action = true, sending = true, unknown = true }
local ALERT, SILENT = "payment.abandoned", "payment.silent"
local SILENT_MS = 6 * 3600000 -- that a provider may say nothing, until staff hear of it
local BANK_MS = 3600000
local STILL_OPEN = { sending = true, unknown = true }


local function is_in_hand(cart_id)
  local row, e = sagas.find("checkout", cart_id)
  if row == nil then return nil, e end
  return row ~= false and UNFINISHED[row.state] == true
end


local function mark(p, claim)
  return sql.transaction(function(tx)
    local marked, e = abandoned.let_go(tx, p, claim)
    if not marked then
      return nil, e or err.new("conflict", "somebody has come back for it", { is_taken = true })
    end
    if not MONEY[p.state] then return true end
    local told, e2 = alerts.raise(tx, ALERT, p.id, { detail = { payment_id = p.id,
      cart_id = p.cart_id, provider = p.provider, reference = p.provider_ref, amount = p.amount,
      currency = p.currency, state = p.state } })
    if told == nil then return nil, e2 end
    return true
  end)
end


-- -> true: it is over | false: it comes again | nil, err
local function let_go(p, claim)
  if not kept.is_let_go(p) then
    payment.settle(p)
    if payment.states.over[p.state] then return true end
    if STILL_OPEN[p.state] then return false end
    local ok, e = mark(p, claim)
    if not ok then return not e.is_taken and nil, e end
    fault.crash "sweep.after_mark"
  end
  local held = p.state
  local gone, e = payment.void(p)
  if not gone then return nil, e end
  metrics.add("till_payments_let_go_total", { provider = p.provider, why = "abandoned" }, 1)
  log.warn("payment.abandoned", { payment = p.id, provider = p.provider, was = held, now = p.state,
    provider_ref = p.provider_ref, amount = p.amount, currency = p.currency, cart = p.cart_id })
  return true
end


local function with_claim(p, cart)
  local until_ms = time.now_ms() + CLAIM_MS
  local claim, e = carts.claim(nil, cart, until_ms)
  if not claim then return claim, e end
  local busy, e2 = is_in_hand(cart.id)
  if busy ~= false then
    carts.lapse(cart.id, claim)
    if busy == nil then return nil, e2 end
    return false
  end
  local good, done, why = xpcall(let_go, debug.traceback, p, claim)
  carts.unclaim(nil, cart.id, claim)
  if not good then error(done, 0) end
  return done, why
end


function sweep.release(p)
  local cart, e = carts.get(p.cart_id)
  if cart == nil then return nil, e end
  local busy, e2 = is_in_hand(p.cart_id)
  if busy == nil then return nil, e2 end
  if busy then return false end
  if not cart or cart.state == "completed" or cart.state == "merged" then return let_go(p) end
  return with_claim(p, cart)
end


-- Only what the provider said counts: one that does not answer is asked again later.
local function has_spoken(p)
  if not WAITS[p.state] or payment.ask_lookup(p).outcome ~= "unknown" then return true end
  if time.now_ms() - time.parse(p.created_at) < SILENT_MS then return false end
  local told, e = sql.transaction(function(tx)
    local opened, e2 = alerts.raise(tx, SILENT, p.id, { detail = { payment_id = p.id,
      cart_id = p.cart_id, provider = p.provider, amount = p.amount, currency = p.currency,
      state = p.state } })
    if opened == nil then return nil, e2 end
    return true
  end)
  if not told then return nil, e end
  return false
end


-- No goods are held for what is begun for an order that is placed: he may be at his bank still.
local function is_young(p)
  return kept.order(p) ~= nil and p.state == "requires_action"
    and time.now_ms() - time.parse(p.created_at) < BANK_MS
end


-- Who has paid and did not come back gets his order, where his cart can still be bought.
-- Of several, none is let go of while nobody knows of another: it may be the one that is missing.
local function one(p)
  if kept.is_let_go(p) then return sweep.release(p) end
  local busy, e = is_in_hand(p.cart_id)
  if busy ~= false then
    if busy == nil then return nil, e end
    return false
  end
  if kept.part(p) then
    local known, e5 = settled.partners(p)
    if not known then return known, e5 end
  end
  local spoken, e2 = has_spoken(p)
  if not spoken then return spoken, e2 end
  if WAITS[p.state] then payment.settle(p) end
  if MONEY[p.state] then
    local done, e3 = settled.complete(p)
    if done ~= false then return done, e3 end
    local now, e4 = payments.get(p.id)
    if not now then return nil, e4 end
    if payment.states.over[now.state] then return settled.tell(now, e3) end
  end
  if is_young(p) then return false end
  return sweep.release(p)
end


-- Those of the passes before: one that is told of now is open until the next one, at least.
local function end_alerts()
  for kind, over in pairs { [ALERT] = abandoned.settled, [SILENT] = abandoned.spoken,
    [settled.ALERT] = abandoned.settled, [doubted.ALERT] = doubts.answered } do
    local ok, e = alert_ends.close(kind, "subject", over)
    if not ok then log.warn("payment.alert_ends", { kind = kind, error = tostring(e) }) end
  end
end


function sweep.run()
  end_alerts()
  local list, e = abandoned.find(time.now_ms() - conf.get("payments.sweep_after_ms"), MOST)
  if not list then return nil, e end
  local until_ms, n = time.mono_ms() + BUDGET_MS, 0
  for _, p in ipairs(list) do
    if time.mono_ms() > until_ms then break end
    local payment_id = p.id
    abandoned.touch(payment_id) -- before it: one that fails for ever lets the others pass
    local done, why = one(p)
    if done then n = n + 1 end
    if done == nil then
      log.error("payment.sweep", { payment = payment_id, provider = p.provider,
        error = tostring(why), next_step = "it is tried again; look at the provider" })
    end
  end
  local looked, e2 = doubted.run()
  if not looked then return nil, e2 end
  return n
end


return sweep
