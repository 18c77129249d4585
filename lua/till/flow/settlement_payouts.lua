-- till/flow/settlement_payouts - what a provider paid out to the bank: how each payout ended, and
-- which movements it holds.
--
--   look(s, keep) -> true | nil, err       asks about each that is open (till.store.payouts);
--                       keep() -> true | nil, err before each page: is the run still ours?
--   balances(s) -> { { currency, here, there }, … } | false: the provider does not say | nil, err
--                       minor units; here: `cash:<provider>` of the ledger
--
-- That a payout was made and that it came back are movements like others: they are booked by
-- till.flow.settlement_alone, and made known to till.store.payouts there. A plugin without the hook
-- `payment.payout` tells no more than that.
--
-- A provider that does not answer here (a key without that permission, say) costs the report what
-- he would have told, and no more: the log says so, and the next run asks again.
--
-- What a payout holds is judged like any movement, where no run has seen it yet, and told once
-- however often a page repeats it. The payout's own movement is not part of its sum.
local alerts = require "till.store.alerts"
local dispatch = require "till.plugin.dispatch"
local items = require "till.store.settlement_items"
local judge = require "till.flow.settlement_judge"
local ledger = require "till.store.ledger"
local log = require "till.prim.log"
local payouts = require "till.store.payouts"
local sql = require "till.prim.sql"
local err = require "till.util.err"

local look = {}

local HOOK, BALANCE = "payment.payout", "payment.balance"
local DIFFERS, FAILED = "settlement.payout_differs", "settlement.payout_failed"
local SOME, MOST_PAGES = 50, 10000
local ENDED = { paid = true, failed = true, canceled = true }
local OWN = { payout = true, payout_reversal = true }


local function plugin_of(provider)
  return "payment-" .. provider
end


local function subject_of(s, reference)
  return s.provider .. ":" .. reference
end


-- -> references of the page that were not seen before on another one
local function add(sum, p, list)
  local new = {}
  for _, item in ipairs(list) do
    if not sum.seen[item.reference] then
      sum.seen[item.reference] = true
      new[#new + 1] = item.reference
      if not (OWN[item.kind] and item.source == p.reference) then
        sum.movements = sum.movements + 1
        if item.currency == p.currency then sum.amount = sum.amount + item.amount - item.fee end
      end
    end
  end
  return new
end


local function judge_new(s, list, references)
  local known, e = items.known(s.provider, references)
  if not known then return nil, e end
  for _, item in ipairs(list) do
    if not known[item.reference] then
      local ok, e2 = judge.one(s, item)
      if not ok then return nil, e2 end
      known[item.reference] = true
    end
  end
  return true
end


local function hold(p, references)
  for first = 1, #references, SOME do
    local some = { unpack(references, first, math.min(first + SOME - 1, #references)) }
    local ok, e = payouts.hold(p, some)
    if not ok then return nil, e end
  end
  return true
end


local function read_page(s, p, sum, answer)
  if not answer.items then return true end
  local references = add(sum, p, answer.items)
  local ok, e = judge_new(s, answer.items, references)
  if ok then ok, e = hold(p, references) end
  if not ok then return nil, e end
  sum.is_told = true
  return true
end


-- -> what is told of it, and the sum of what it holds | nil, err, is it the provider's?
local function ask(s, p, keep)
  local sum, told, after = { movements = 0, amount = 0, seen = {} }, {}, nil
  for _ = 1, MOST_PAGES do
    local ok, e = keep()
    if not ok then return nil, e end
    local answer, e2 = dispatch.plugin(plugin_of(s.provider), HOOK,
      { payout = p.reference, after = after })
    if not answer then return nil, e2, true end
    told = answer.payout or told
    ok, e = read_page(s, p, sum, answer)
    if not ok then return nil, e end
    after = answer.after
    if not after then return told, sum end
  end
  return nil, err.new("unavailable", "the payout has more pages than can be read")
end


local function raise(tx, s, p, kind, more)
  local detail = { provider = s.provider, kind = "payout", amount = p.amount,
    currency = p.currency, reference = p.reference }
  for name, value in pairs(more) do detail[name] = value end
  local opened, e = alerts.raise(tx, kind, subject_of(s, p.reference), { detail = detail })
  if opened == nil then return nil, e end
  return true
end


local function difference(p, sum)
  return sum.is_told and p.amount - sum.amount or 0
end


local function write(s, p, told, sum)
  local state = told.state or p.state
  local is_known = sum.is_told or told.is_listed == false
  local is_over = ENDED[state] and is_known and difference(p, sum) == 0
  return sql.transaction(function(tx)
    local ok, e = payouts.told(p, { state = told.state, reason = told.reason, at_ms = told.at_ms,
      arrives_at_ms = told.arrives_at_ms, is_listed = told.is_listed,
      movements = sum.is_told and sum.movements or nil,
      movements_amount = sum.is_told and sum.amount or nil,
      is_open = not is_over, settlement_id = s.id }, tx)
    if ok and difference(p, sum) ~= 0 then
      ok, e = raise(tx, s, p, DIFFERS, { reason = ("it holds %d movements that come to %d"):format(
        sum.movements, sum.amount) })
    end
    if ok and state == "failed" then
      ok, e = raise(tx, s, p, FAILED, { reason = told.reason or p.reason })
    end
    if not ok then return nil, e end
    return true
  end)
end


-- The bank takes payouts again: those that failed before are on the balance, and in this one.
local function close_failed(s, p)
  local references, e = payouts.failed_before(p, SOME)
  if not references then return nil, e end
  for _, reference in ipairs(references) do alerts.close(FAILED, subject_of(s, reference)) end
  return true
end


local function one(s, p, keep)
  local told, sum, is_his = ask(s, p, keep)
  if not told then return nil, sum, is_his end
  local ok, e = write(s, p, told, sum)
  if not ok then return nil, e end
  if difference(p, sum) == 0 then
    alerts.close(DIFFERS, subject_of(s, p.reference))
  else
    log.warn(DIFFERS, { provider = s.provider, payout = p.reference, amount = p.amount,
      movements = sum.movements, movements_amount = sum.amount, currency = p.currency })
  end
  if told.state == "paid" then return close_failed(s, p) end
  return true
end


local function warn(event, s, e)
  log.warn(event, { provider = s.provider, error = tostring(e),
    next_step = "see whether the provider's key may read payouts and the balance" })
end


function look.look(s, keep)
  if not dispatch.has(HOOK, plugin_of(s.provider)) then return true end
  local after
  repeat
    local list, e = payouts.open(s, after, SOME)
    if not list then return nil, e end
    for _, p in ipairs(list) do
      after = p.id
      local ok, e2, is_his = one(s, p, keep)
      if is_his then
        warn("settlement.payouts_unread", s, e2)
        return true
      end
      if not ok then return nil, e2 end
    end
  until #list < SOME
  return true
end


function look.balances(s)
  if not dispatch.has(BALANCE, plugin_of(s.provider)) then return false end
  local answer, e = dispatch.plugin(plugin_of(s.provider), BALANCE)
  if not answer then
    warn("settlement.balance_unread", s, e)
    return false
  end
  local rows, e2 = ledger.of_account("cash:" .. s.provider)
  if not rows then return nil, e2 end
  local out = {}
  for _, row in ipairs(rows) do
    out[#out + 1] = { currency = row.currency, here = row.amount,
      there = answer[row.currency] or 0 }
    answer[row.currency] = nil
  end
  for currency, amount in pairs(answer) do
    out[#out + 1] = { currency = currency, here = 0, there = amount }
  end
  table.sort(out, function(a, b) return a.currency < b.currency end)
  return out
end


return look
