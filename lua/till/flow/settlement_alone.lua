-- till/flow/settlement_alone - movements at a provider that are of no payment: they are booked by
-- themselves, each once.
--
--   KINDS                        { kind = true }
--   run(tx, s, item) -> verdict | nil, err     s, item as till.flow.settlement_match has them
--
-- fee               a month's, or that of a report: it is the whole movement
-- payout            money that went to the shop's bank, or came from there where it is positive
-- payout_reversal   a payout that failed, or was taken back: by an entry of its own
--
-- The movement's row is there and locked before anything is posted, and says in the same
-- transaction that it was: two who read the same page book it once.
local items = require "till.store.settlement_items"
local ledger = require "till.store.ledger"
local payouts = require "till.store.payouts"

local alone = {}

local VERDICT = "other"

alone.KINDS = { fee = true, payout = true, payout_reversal = true }


-- With what it costs: `fee` of a movement is not part of its amount.
local function post(tx, s, item)
  local of, fees = s.provider, item.fee
  local entries = { { "cash:" .. of, item.amount - item.fee } }
  if item.kind == "fee" then
    fees = item.fee - item.amount
  else
    entries[2] = { "bank:" .. of, -item.amount }
  end
  entries[#entries + 1] = { "fees:" .. of, fees }
  return ledger.post(tx, nil, nil, item.currency, entries)
end


local function book(tx, s, item)
  local ok, e = post(tx, s, item)
  if not ok then return nil, e end
  if item.kind == "fee" then return true end
  local is_back = item.kind == "payout_reversal"
  return payouts.seen(tx, { provider = s.provider, reference = item.source or item.reference,
    currency = item.currency, amount = is_back and item.amount or -item.amount,
    at_ms = item.at_ms, settlement_id = s.id, is_back = is_back })
end


function alone.run(tx, s, item)
  local row = { provider = s.provider, settlement_id = s.id, verdict = VERDICT }
  for _, name in ipairs { "reference", "kind", "source", "currency", "amount", "fee", "at_ms" } do
    row[name] = item[name]
  end
  local known, e = items.begin(tx, row)
  if not known then return nil, e end
  if known.fee_booked == 1 then return VERDICT end
  local ok, e2 = book(tx, s, item)
  if not ok then return nil, e2 end
  row.fee_booked = true
  ok, e = items.put(tx, row)
  if not ok then return nil, e end
  return VERDICT
end


return alone
