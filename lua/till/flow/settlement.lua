-- till/flow/settlement - what moved on a provider's account, compared with our books: of a period,
-- every day and when somebody asks.
--
--   begin(tx, { provider, from_ms, to_ms, actor, request_id }) -> id | nil, err      written down,
--                       with its audit where an actor is told; a jobs worker runs it. Refused:
--                       invalid_request (what is wrong with it), conflict (one is under way)
--   run(id) -> settlement | nil, err      to its end; at once given back where it is over or
--                       somebody else is at it. What fails is tried again later
--   job(payload) -> true | nil, err       the same of an event, payload { settlement_id }
--   daily() -> true | nil, err            begins one for each provider that can be asked; what a
--                       server of before has called `won` of a dispute, and was lost, is so again
--   go_on() -> how many                   takes up those whose worker died or failed; ends the
--                       alerts of payments that a flow, or staff, have seen to since
--   report(s) -> { totals, payouts, balances, and items by verdict: missing_here, missing_there,
--                  differs, other_currency }
--
-- First payments of the period whose outcome nobody knows are looked up
-- (till.flow.settlement_resolve). Then each movement is judged in a transaction of its own
-- (till.flow.settlement_judge), under the claim of this run; then payouts are looked at
-- (till.flow.settlement_payouts), and what the provider does not know is listed. What is listed
-- moves no money.
--
-- The provider's side is read from a day before the period to eight days after it: a capture is
-- booked with the day of its authorization where the provider tells only that.
--
-- Killed anywhere it is run again from the beginning: each movement has one row under its
-- reference, so nothing is booked twice. That is within three minutes: its lease is two, for it is
-- made longer once a page only, of which each movement is a transaction; its event, delivered anew
-- before that, finds it in hand; and go_on comes every minute.
local alert_ends = require "till.flow.alert_ends"
local alerts = require "till.store.alerts"
local audit = require "till.store.audit"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local items = require "till.store.settlement_items"
local judge = require "till.flow.settlement_judge"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local outbox = require "till.prim.outbox"
local payment_marks = require "till.store.payment_marks"
local payouts = require "till.flow.settlement_payouts"
local resolve = require "till.flow.settlement_resolve"
local settlements = require "till.store.settlements"
local store_payouts = require "till.store.payouts"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local settlement = {}

local HOOK = "payment.settlement"
local LEASE_MS, DAY_MS = 120000, 86400000
local BEFORE_MS, AFTER_MS = DAY_MS, 8 * DAY_MS
local LONGEST_MS = 92 * DAY_MS
local DAILY_MS = 3 * DAY_MS
local SOME, MOST_PAGES, MOST_TRIES = 50, 10000, 20
local LISTED = 500
local THERE, WITHOUT = "settlement.missing_there", "settlement.without_order"
local VERDICTS = { "missing_here", "missing_there", "differs", "other_currency" }


local function plugin_of(provider)
  return "payment-" .. provider
end


local function unfit(wish)
  if not dispatch.has(HOOK, plugin_of(wish.provider)) then
    return ("/provider: %s has no account to be compared: its plugin lacks %s")
      :format(wish.provider, HOOK)
  end
  if wish.from_ms >= wish.to_ms then return "/from: it has to be before `to`" end
  if wish.to_ms - wish.from_ms > LONGEST_MS then return "/to: at most 92 days after `from`" end
  if wish.to_ms > time.now_ms() + 60000 then return "/to: it is in the future" end
end


local function note(tx, settlement_id, wish)
  if not wish.actor then return true end
  return audit.add({ actor = wish.actor, action = "settlement.begin",
    subject = tostring(settlement_id), request_id = wish.request_id, detail = {
      provider = wish.provider, from = time.rfc3339(wish.from_ms),
      to = time.rfc3339(wish.to_ms) } }, tx)
end


function settlement.begin(tx, wish)
  local why = unfit(wish)
  if why then
    local pointer, detail = why:match "^(%S+): (.*)$"
    return nil, err.new("invalid_request", detail,
      { errors = { { pointer = pointer, detail = detail, code = "invalid" } } })
  end
  local settlement_id, e = settlements.begin(tx, wish)
  if not settlement_id then return nil, e end
  local ok, e2 = outbox.append(tx, { { aggregate = "settlement:" .. settlement_id,
    type = "payment.settlement", payload = { settlement_id = settlement_id } } })
  if ok then ok, e2 = note(tx, settlement_id, wish) end
  if not ok then return nil, e2 end
  return settlement_id
end


local function still_ours(s)
  local is_ours, e = settlements.keep(s, LEASE_MS)
  if is_ours == nil then return nil, e end
  if not is_ours then
    return nil, err.new("conflict", "another worker has taken this reconciliation over")
  end
  return true
end


-- ---- both sides ---------------------------------------------------------------------------

local function judge_page(s, list)
  for _, item in ipairs(list) do
    local ok, e = judge.one(s, item)
    if not ok then return nil, e end
  end
  return true
end


local function pages(s)
  local after
  s.read_ms = time.now_ms() -- what is booked from now on he may not have told of
  for _ = 1, MOST_PAGES do
    local ok, e = still_ours(s)
    if not ok then return nil, e end
    local answer, e2 = dispatch.plugin(plugin_of(s.provider), HOOK,
      { from_ms = s.from_ms - BEFORE_MS, to_ms = s.to_ms + AFTER_MS, after = after })
    if not answer then return nil, e2 end
    ok, e = judge_page(s, answer.items)
    if not ok then return nil, e end
    if not answer.after then return true end
    if answer.after == after then
      return nil, err.new("unavailable", "the provider's pages do not come to an end")
    end
    after = answer.after
  end
  return nil, err.new("unavailable", "the provider has more pages than can be read")
end


local function missing_there(s)
  local rows, e = items.unmatched(s, LISTED)
  if not rows then return nil, e end
  local ok, e2 = items.list_missing(s, rows)
  if not ok then return nil, e2 end
  for _, row in ipairs(rows) do
    local told, e3 = sql.transaction(function(tx)
      local opened, e4 = alerts.raise(tx, THERE, row.payment_id, { detail = {
        provider = s.provider, payment_id = row.payment_id, order_id = row.order_id,
        kind = row.kind, amount = row.amount, currency = row.currency,
        reference = row.reference } })
      if opened == nil then return nil, e4 end
      return true
    end)
    if not told then return nil, e3 end
  end
  return true
end


-- Alerts of payments that were missing there in this period and are not any more.
local function close_found(s, was)
  local now, e = items.list(s, "missing_there", LISTED)
  if not now then return nil, e end
  local still = {}
  for _, item in ipairs(now) do still[item.payment_id] = true end
  for _, item in ipairs(was) do
    if not still[item.payment_id] then alerts.close(THERE, item.payment_id) end
  end
  return true
end


-- At the end: what was found before is in the books then.
local function weigh(s)
  local balances, e = payouts.balances(s)
  if balances == nil then return nil, e end
  if not balances then return true end
  local noted, e2 = settlements.weighed(s, balances)
  if noted == nil then return nil, e2 end
  return true
end


local function compare(s)
  local was, e = items.list(s, "missing_there", LISTED)
  if not was then return nil, e end
  local function keep() return still_ours(s) end
  for _, step in ipairs { resolve.run, pages, payouts.look, judge.rest, missing_there, weigh } do
    local ok, e2 = step(s, keep)
    if not ok then return nil, e2 end
  end
  return close_found(s, was)
end


-- ---- runs ---------------------------------------------------------------------------------

local function ended(s, ok, e)
  if ok then
    metrics.add("till_settlements_total", { provider = s.provider, state = "done" }, 1)
    log.info("settlement.done", { settlement = s.id, provider = s.provider })
    return settlements.finish(s, "done")
  end
  log.error("settlement.failed", { settlement = s.id, provider = s.provider, error = tostring(e),
    tries = s.tries, next_step = s.tries < MOST_TRIES and "it is tried again in a minute"
      or "mend it, then begin another one for the same period" })
  if s.tries < MOST_TRIES then return settlements.put_off(s, e) end
  metrics.add("till_settlements_total", { provider = s.provider, state = "failed" }, 1)
  return settlements.finish(s, "failed", e)
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


function settlement.run(settlement_id)
  local s, e = settlements.claim(settlement_id, LEASE_MS)
  if s == nil then return nil, e end
  if not s then return settlements.get(settlement_id) end
  local good, ok, why = xpcall(compare, traced, s)
  if not good then ok, why = nil, ok end
  local noted, e2 = ended(s, ok, why)
  if noted == nil then return nil, e2 end
  if not ok then return nil, why end
  return settlements.get(settlement_id)
end


function settlement.job(payload)
  local s, e = settlement.run(payload.settlement_id)
  if s == nil then return nil, e end
  return true
end


function settlement.go_on()
  local ids, e = settlements.waiting(SOME)
  if not ids then return nil, e end
  local ok, e2 = alert_ends.close(WITHOUT, "subject", settlements.settled_payments)
  if not ok then return nil, e2 end
  for _, settlement_id in ipairs(ids) do
    settlement.run(settlement_id) -- one that fails is told, and holds up no other
  end
  return #ids
end


-- From the end of the last one, and some days before: what came late is found then. Of those that
-- somebody asked for none counts: a short one would hide what days of failure have left.
local function period_of(provider)
  local last, e = settlements.last_daily(provider)
  if last == nil then return nil, e end
  local to_ms = math.floor(time.now_ms() / 1000) * 1000
  local from_ms = to_ms - DAILY_MS
  if last then from_ms = math.min(from_ms, time.parse(last.to_at) - DAY_MS) end
  return math.max(from_ms, to_ms - LONGEST_MS), to_ms
end


function settlement.daily()
  local folded, why = payment_marks.as_folded()
  if not folded then return nil, why end
  if folded > 0 then log.warn("settlement.folded", { payments = folded }) end
  for _, plugin in ipairs(dispatch.names(HOOK)) do
    local provider = plugin:match "^payment%-(.+)$"
    local from_ms, to_ms = period_of(provider)
    if not from_ms then return nil, to_ms end
    local begun, e = sql.transaction(function(tx)
      return settlement.begin(tx, { provider = provider, from_ms = from_ms, to_ms = to_ms })
    end)
    if not begun and not err.is(e, "conflict") then return nil, e end
  end
  return true
end


function settlement.report(s)
  local totals, e = items.totals(s)
  if not totals then return nil, e end
  local out = { totals = totals }
  for _, verdict in ipairs(VERDICTS) do
    out[verdict], e = items.list(s, verdict, LISTED)
    if not out[verdict] then return nil, e end
  end
  out.payouts, e = store_payouts.of_period(s, LISTED)
  if not out.payouts then return nil, e end
  out.balances = s.balances or {}
  return out
end


return settlement
