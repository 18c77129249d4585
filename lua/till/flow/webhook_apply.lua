-- till/flow/webhook_apply - one subject of the inbox: what is true at the provider, and what of it
-- is not in our books yet.
--
--   run(group, claim) -> true | nil, err     group { provider, subject, ids, types, tries,
--                      event_id, open or nil: how many alerts of each kind are open }
--   put_off(group, claim, e) -> true | nil, err    tried again later; after MOST_TRIES it has
--                      failed, and it is told
--
-- The plugin's answer names the payment (its own metadata at the provider) and how it stands there.
-- Where it is not ours to the last field nothing is applied. What is booked and that the rows are
-- applied is one transaction, and under the claim: who lost it books nothing.
--
-- A payment that has no order yet is its completion's business: till.flow.settled goes on with it.
-- Of one that went back without an order only disputes are booked, and that it did not get there.
-- What was given up, and was paid after all, is let go of (till.flow.late_payment).
local alerts = require "till.store.alerts"
local booking = require "till.flow.booking"
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local late_payment = require "till.flow.late_payment"
local lost_authorization = require "till.flow.lost_authorization"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local payments = require "till.store.payments"
local settled = require "till.flow.settled"
local sql = require "till.prim.sql"
local webhook_due = require "till.flow.webhook_due"
local webhook_plain = require "till.flow.webhook_plain"
local webhooks_store = require "till.store.webhooks"

local apply = {}

apply.MOST_TRIES = 16
local MAX_WAIT_MS = 600000
local PARKED, FAILED, DISPUTED = "webhook.parked", "webhook.failed", "payment.disputed"
local PAID = { authorized = true, captured = true }


local function count(group, state)
  metrics.add("till_webhooks_applied_total", { provider = group.provider, state = state },
    #group.ids)
end


local function lost()
  return nil, err.new("conflict", "another worker took this event over")
end


local function settle(tx, group, claim, state, more)
  local ours, e = webhooks_store.settle(tx, group.ids, claim, state, more)
  if ours == nil then return nil, e end
  if not ours then return lost() end
  return true
end


local function subject_of(group)
  return (group.provider .. ":" .. group.subject):sub(1, 120)
end


local function raise(tx, kind, group, subject, about)
  local raised, e = alerts.raise(tx, kind, subject, { detail = { provider = group.provider,
    event_id = group.event_id, reason = about.reason, payment_id = about.payment_id } })
  return raised ~= nil, e
end


local function log_told(group, kind, reason)
  log.error(kind, { provider = group.provider, subject = group.subject, reason = reason })
end


local function told(group, claim, state, kind, reason, payment_id)
  local about = { reason = reason, payment_id = payment_id }
  local ok, e = sql.transaction(function(tx)
    local raised, why = raise(tx, kind, group, subject_of(group), about)
    if not raised then return nil, why end
    return settle(tx, group, claim, state, about)
  end)
  if not ok then return nil, e end
  count(group, state)
  log_told(group, kind, reason)
  return true
end


local function park(group, claim, reason, payment_id)
  return told(group, claim, "parked", PARKED, reason, payment_id)
end


function apply.put_off(group, claim, e)
  local reason = tostring(e)
  if group.tries >= apply.MOST_TRIES then
    local ok, why = told(group, claim, "failed", FAILED, reason)
    if ok then return true end
    reason = tostring(why)
  end
  local delay = math.min(MAX_WAIT_MS, 1000 * 2 ^ math.min(group.tries, 20))
  local ok, why = webhooks_store.put_off(group.ids, claim, delay, reason)
  log.warn("webhook.put_off", { provider = group.provider, subject = group.subject,
    error = reason, also = not ok and tostring(why) or nil })
  return ok and true, why
end


local function find(answer, group)
  if not tostring(answer.payment_id):find "^pay_%w+$" or #answer.payment_id ~= 30 then
    return false, "its metadata name no payment of ours"
  end
  local p, e = payments.get(answer.payment_id)
  if p == nil then return nil, e end
  if not p then return false, "there is no payment that its metadata name" end
  local field = webhook_due.differs(answer, p, group)
  if field then return false, "it is not the payment that its metadata name: another " .. field end
  return p
end


-- Of a payment there may be several disputes, each told and ended by itself.
local function dispute_of(p, event)
  if not event.reference then return p.id end
  return (p.id .. ":" .. event.reference):sub(1, 120)
end


local function tell(tx, p, event)
  if event.kind == "voided" then return lost_authorization.raise(tx, p, event) end
  if event.kind == "disputed" then
    local raised, e = alerts.raise(tx, DISPUTED, dispute_of(p, event), { detail = {
      payment_id = p.id, order_id = p.order_id, amount = event.amount, currency = p.currency,
      reference = event.reference, reason = event.reason } })
    return raised ~= nil, e
  end
  return true
end


-- One that does not fit holds up none of the others. -> reasons of those that do not | nil, err
local function book_all(tx, group, p, events)
  local misfits = {}
  for _, event in ipairs(events) do
    event.actor = "provider:" .. p.provider
    local booked, e = booking.book(tx, p.id, event)
    if booked == nil and not (err.is(e, "conflict") and e.reason) then return nil, e end
    if booked == nil then
      misfits[#misfits + 1] = ("%s does not fit what is booked: %s"):format(event.kind, e.reason)
    elseif booked then
      local ok, e2 = tell(tx, p, event)
      if not ok then return nil, e2 end
      log.info("webhook.booked", { provider = group.provider, payment_id = p.id,
        kind = event.kind })
    end
  end
  return misfits
end


-- A server from before parked each refund that failed, with an alert of its own.
local function subject_of_refund(group, refund)
  return (group.provider .. ":" .. refund.reference):sub(1, 120)
end


-- With what is booked it is parked where something did not fit.
-- -> the state of its rows, why
local function end_of(tx, group, claim, p, misfits)
  local why = misfits[1] and table.concat(misfits, "; ")
  if why then
    local ok, e = raise(tx, PARKED, group, subject_of(group), { reason = why, payment_id = p.id })
    if not ok then return nil, e end
  end
  local state = why and "parked" or "applied"
  local ok, e = settle(tx, group, claim, state, { payment_id = p.id, reason = why })
  if not ok then return nil, e end
  return state, why
end


local ENDS = { won = true, lost = true }


-- What else is parked of this subject still has to be looked at.
local function close_of(group, events, kind, state)
  if group.open and not group.open[kind] then return end -- none of its kind, a moment ago
  local left, e = webhooks_store.has(group.provider, group.subject, state)
  if left == nil then
    log.warn("webhook.alerts", { subject = group.subject, error = tostring(e) })
  end
  if left ~= false then return end
  alerts.close(kind, subject_of(group))
  for _, event in ipairs(events) do
    if event.kind == "refund_failed" then alerts.close(kind, subject_of_refund(group, event)) end
  end
end


local function close_alerts(group, p, events)
  close_of(group, events, PARKED, "parked")
  close_of(group, {}, FAILED, "failed")
  for _, event in ipairs(events) do
    if ENDS[event.kind] then
      alerts.close(DISPUTED, dispute_of(p, event))
      alerts.close(DISPUTED, p.id) -- as a server from before called it
    end
  end
end


local function book(group, claim, answer, p)
  local amounts, e = booking.amounts(p.id)
  if not amounts then return nil, e end
  local another = webhook_due.another_capture(answer, p, amounts)
  if another then return park(group, claim, another, p.id) end
  local events, e2 = webhook_due.due(answer, p, amounts)
  if not events then return nil, e2 end
  local why
  local state, e3 = sql.transaction(function(tx)
    local misfits, e5 = book_all(tx, group, p, events)
    if not misfits then return nil, e5 end
    local state
    state, why = end_of(tx, group, claim, p, misfits)
    if state then fault.crash "webhook.before_commit" end
    return state, why
  end)
  if not state then return nil, e3 end
  fault.crash "webhook.after_commit"
  count(group, state)
  if why then log_told(group, PARKED, why) end
  close_alerts(group, p, events)
  return true
end


-- Nothing of it is to be booked.
local function book_without(group, claim, p)
  return book(group, claim, { events = {} }, p)
end


-- What was given back pays for nothing, though the provider calls it paid still. A bank may take it
-- all the same: then it went twice; or it may not have got there.
local BACK = { refunded = true, disputed = true, lost = true }
local BY_BANK = { disputed = true, won = true, lost = true, refund_failed = true }


local function book_what_banks_did(group, claim, answer, p)
  local events = {}
  for _, event in ipairs(answer.events or {}) do
    if BY_BANK[event.kind] then events[#events + 1] = event end
  end
  return book(group, claim, { events = events }, p)
end


-- Whoever gave it up was told that nothing was there, or staff were.
local function let_go(group, claim, answer, p)
  local ok, e = sql.transaction(function(tx)
    local written, why = late_payment.found(tx, p, answer.provider_ref)
    if not written then return nil, why end
    return settle(tx, group, claim, "applied", { payment_id = p.id })
  end)
  if not ok then return nil, e end
  count(group, "applied")
  close_alerts(group, p, {})
  return true
end


-- Money there and none of ours: who voided the payment could not let go of it.
local function without_order(group, claim, answer, p)
  if BACK[p.state] then return book_what_banks_did(group, claim, answer, p) end
  if not PAID[answer.state] then return book_without(group, claim, p) end
  if late_payment.is_given_up(p) then return let_go(group, claim, answer, p) end
  if p.state == "voided" then
    return park(group, claim, "it was paid after it had been given up here", p.id)
  end
  local ok, e = settled.go_on(p)
  if not ok then return nil, e end
  local now, e2 = payments.get(p.id)
  if not now then return nil, e2 end
  if now.order_id then return book(group, claim, answer, now) end
  return book_without(group, claim, now)
end


local function names_of(types)
  local out = {}
  for name in pairs(types) do out[#out + 1] = name end
  table.sort(out)
  return out
end


-- What came is shown to a plugin only where its provider's callbacks can be believed: any other has
-- nothing to answer from, and has to ask.
local function ask(group)
  local hint = { types = names_of(group.types), subject = group.subject,
    event_id = group.event_id }
  if capabilities.can((group.provider:gsub("^payment%-", "")), "trusts_callbacks") then
    local e
    hint.bodies, e = webhooks_store.bodies(group.ids)
    if not hint.bodies then return nil, e end
  end
  return dispatch.plugin(group.provider, "webhook.apply", hint)
end


local function carefully(group, claim, answer)
  local p, why = find(answer, group)
  if p == nil then return nil, why end
  if not p then return park(group, claim, why) end
  if answer.park then return park(group, claim, answer.park, p.id) end
  if not p.order_id then return without_order(group, claim, answer, p) end
  return book(group, claim, answer, p)
end


-- A plugin that tells of refunds that failed apart from what happened tells of events as well.
local function with_failed(answer)
  if not (answer.failed and answer.failed[1]) then return answer end
  answer.events = answer.events or {}
  for _, refund in ipairs(answer.failed) do
    refund.kind = "refund_failed"
    table.insert(answer.events, refund)
  end
  return answer
end


function apply.run(group, claim)
  local answer, e = ask(group)
  if not answer then return nil, e end
  answer = with_failed(answer)
  if not answer.payment_id then return park(group, claim, answer.park or "it names no payment") end
  local done, e2 = webhook_plain.book(group, claim, answer)
  if done == nil then return nil, e2 end
  if not done then return carefully(group, claim, answer) end
  count(group, "applied")
  close_alerts(group, nil, {})
  return true
end


return apply
