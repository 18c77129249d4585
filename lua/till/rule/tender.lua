-- till/rule/tender - how what is due gets paid: store credit first, then cash or something else.
--
-- Neither changes a discount or a tax. tender.pay(given, grand_total) -> { store_credit=,
-- cash_rounding=, amount_due= }
local money = require "till.money"

local tender = {}

local NONE = {}


-- The smallest step that can be paid, nil when it is not paid in cash.
function tender.increment(spec)
  if not spec or spec.type ~= "cash" then return nil end
  return spec.increment or 1
end


function tender.pay(given, grand_total)
  local due = grand_total
  for _, credit in ipairs(given.store_credits or NONE) do
    due = due - math.max(0, math.min(credit.balance, due))
  end
  local increment = tender.increment(given.tender)
  local rounded = increment and money.round_to(due, increment) or due
  return {
    store_credit = grand_total - due,
    cash_rounding = rounded - due,
    amount_due = rounded,
  }
end


return tender
