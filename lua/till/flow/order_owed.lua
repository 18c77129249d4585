-- till/flow/order_owed - is an order over, or does the shopper owe for it?
--
--   completes(tx, order, machine) -> boolean | nil, err    machine: of `status` of
--                       till.flow.order_states; order: as it is in tx, and in its ledger
--
-- A payment that is voided may have been let go of because nothing is owed (all of it came back),
-- or lost at its provider: the state says the same of both, the ledger does not.
local ledger = require "till.store.ledger"

local order_owed = {}


local function receivable(tx, order_id)
  local entries, e = ledger.of_order(order_id, tx)
  if not entries then return nil, e end
  local sum = 0
  for _, entry in ipairs(entries) do
    if entry.account == "receivable" then sum = sum + entry.amount end
  end
  return sum
end


function order_owed.completes(tx, order, machine)
  if not machine:can(order.status, "complete", order) then return false end
  if order.payment_status ~= "voided" then return true end
  local owed, e = receivable(tx, order.id)
  if not owed then return nil, e end
  return owed <= 0
end


return order_owed
