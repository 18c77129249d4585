-- till/flow/booking_entries - what the events of a payment come to in the ledger.
--
--   of(payment, was, now, fee) -> entries    each account moves by what its amount has moved; was
--                       and now as till.prim.attempt sums them up
--   up_to(payment, list, now, posted, counter) -> entries    what its events come to, against
--                       `counter` (an account), less what was posted before and by whom:
--                       { account -> sum }
--   suspend(tx, payment, now) -> true | nil, err    posts that of one without an order
--
-- Money without an order is on `suspense:<provider>`. Minor units.
local ledger = require "till.store.ledger"
local payment_events = require "till.store.payment_events"

local entries = {}

local NOTHING = { captured = 0, refunded = 0, disputed = 0, lost = 0 }


function entries.of(p, was, now, fee)
  local captured, refunded = now.captured - was.captured, now.refunded - was.refunded
  local disputed, lost = now.disputed - was.disputed, now.lost - was.lost
  fee = fee or 0
  return { { "cash:" .. p.provider, captured - refunded - disputed - lost - fee },
    { "receivable", refunded - captured }, { "disputed:" .. p.provider, disputed },
    { "losses:" .. p.provider, lost }, { "fees:" .. p.provider, fee } }
end


local function fees_of(list)
  local sum = 0
  for _, event in ipairs(list) do sum = sum + (event.fee or 0) end
  return sum
end


function entries.up_to(p, list, now, posted, counter)
  local wanted = {}
  for _, entry in ipairs(entries.of(p, NOTHING, now, fees_of(list))) do
    wanted[entry[1] == "receivable" and counter or entry[1]] = entry[2]
  end
  local suspense, out = "suspense:" .. p.provider, {}
  wanted[suspense] = wanted[suspense] or 0
  for account, amount in pairs(wanted) do
    out[#out + 1] = { account, amount - (posted[account] or 0) }
  end
  return out
end


function entries.suspend(tx, p, now)
  local posted, e = ledger.of_payment(p.id, tx)
  if not posted then return nil, e end
  local list, e2 = payment_events.of(p.id, tx) -- this one is among them
  if not list then return nil, e2 end
  return ledger.post(tx, nil, p.id, p.currency,
    entries.up_to(p, list, now, posted, "suspense:" .. p.provider))
end


return entries
