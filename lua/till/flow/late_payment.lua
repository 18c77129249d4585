-- till/flow/late_payment - answers that came too late: who looked the payment up meanwhile heard
-- that it never got there, gave it up, and it pays for nothing any more. Nobody else knows that
-- there is, or may be, money to be let go of. So it is with what staff resolve as `not_found`.
--
--   late.is_given_up(p) -> boolean       not by a void: of that its provider said that it is done
--   late.found(tx, p, ref or nil) -> true | nil, err     its provider has told of money since (a
--                             webhook, a poll, reconciliation): a jobs worker lets go of it
--   late.heard(p, answer)     of one that is given up: by who asked, when he hears at last
--   late.look(p) -> true | nil, err      of one that is given up: what the provider has of it now,
--                             let go of; true: nothing is held
--   late.let_go(payload) -> true | nil, err      the job: payload { payment_id, provider_ref }
--
-- It is written down, as an event of the outbox, before the provider is asked to let go: whoever
-- dies in between leaves it to a jobs worker, who looks it up until it is known and nothing is
-- held. Voids and refunds have their keys: who does it twice does it once.
local alerts = require "till.store.alerts"
local err = require "till.util.err"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local outbox = require "till.prim.outbox"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"

local late = {}

local ALERT = "payment.given_back"

local HELD = { authorized = true, captured = true, requires_action = true }
local OVER = { not_found = true, declined = true, failed = true, voided = true, refunded = true }


function late.is_given_up(p)
  return not p.order_id and (p.state == "failed" or p.state == "declined")
end


function late.found(tx, p, ref)
  return outbox.append(tx, { { aggregate = "payment:" .. p.id, type = "payment.too_late",
    payload = { payment_id = p.id, provider_ref = ref, provider = p.provider } } })
end


local function write_down(p, ref)
  return sql.transaction(function(tx) return late.found(tx, p, ref) end)
end


-- As good as it can be: the log and the figures have it too.
local function raise(p)
  sql.transaction(function(tx)
    local opened, e = alerts.raise(tx, ALERT, p.id, { detail = { payment_id = p.id,
      cart_id = p.cart_id, provider = p.provider, reference = p.provider_ref, amount = p.amount,
      currency = p.currency, reason = "its provider told of it after it was given up" } })
    if opened == nil then return nil, e end
    return true
  end)
end


local function tell(p, outcome, e)
  local what = { provider = p.provider, payment = p.id, provider_ref = p.provider_ref,
    outcome = outcome }
  if not e then
    metrics.add("till_payments_let_go_total", { provider = p.provider, why = "too_late" }, 1)
    log.warn("payment.too_late", what)
    return raise(p)
  end
  what.error = tostring(e)
  what.next_step = "it is tried again; where that ends in the dead letters, void or refund it there"
  log.error("payment.too_late", what)
end


-- As the provider has it now, whatever our row says. A lookup that answers nothing is no end.
local function settle(p, outcome)
  if outcome == "unknown" then
    local seen = payment.ask_lookup(p)
    outcome, p.provider_ref = seen.outcome, seen.provider_ref or p.provider_ref
  end
  if OVER[outcome] then return true, outcome end
  if not HELD[outcome] then
    return nil, err.new("unknown_outcome", "the provider does not say what became of it"), outcome
  end
  local undo = outcome == "captured" and payment.ask_refund or payment.ask_void
  local as_it_was = p.state
  p.state = outcome -- at the provider
  local gone, e, seen = undo(p)
  if not gone and seen and seen.outcome == "captured" and outcome ~= "captured" then
    p.state = "captured"
    gone, e = payment.ask_refund(p)
  end
  p.state = as_it_was
  if not gone then return nil, e, outcome end
  tell(p, outcome)
  return true, outcome
end


function late.heard(p, answer)
  if OVER[answer.outcome] then return end
  p.provider_ref = answer.provider_ref or p.provider_ref
  local ok, e = write_down(p, p.provider_ref)
  if not ok then tell(p, answer.outcome, e) end
  local done, e2, outcome = settle(p, answer.outcome)
  if not done then tell(p, outcome, e2) end
end


function late.look(p)
  local done, e = settle(p, "unknown")
  if not done then return nil, e end
  return true
end


function late.let_go(payload)
  local p, e = payments.get(payload.payment_id)
  if p == nil then return nil, e end
  if not p or p.order_id then return true end -- taken back by nobody: it pays after all
  p.provider_ref = payload.provider_ref or p.provider_ref
  return late.look(p)
end


return late
