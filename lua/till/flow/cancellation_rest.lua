-- till/flow/cancellation_rest - of a payment that was captured in part, the rest is let go of.
--
--   part_of(kind, payment, amount, left) -> what of the amount is let go of instead of given back.
--       kind "cancel", "return", "refund"; left: what was captured and does not go back yet, and
--       what is held. What was not sent was not captured; else what was captured goes back first
--   let_go(tx, order, cancellation, rows) -> moves of the order besides | nil, err    the
--       let_go of its rows; unpaid, owed and let_go of till.flow.cancellation_money
--   capture_due(tx, order, cancellation) -> true | nil, err     what units that were sent come to,
--       where the last that were not are cancelled
--
-- All in minor units, under the lock of the order. Nobody is asked meanwhile: our books will never
-- capture it, and the provider is told once nothing is left (till.flow.capture_queue).
local capture_queue = require "till.flow.capture_queue"
local outbox = require "till.prim.outbox"
local payment_status = require "till.flow.payment_status"
local payments = require "till.store.payments"

local rest = {}


function rest.part_of(kind, p, amount, left)
  if not p or not payments.was_captured(p) then return 0 end
  local held = payments.left(p)
  if kind == "cancel" then return math.min(amount, held) end
  return math.min(held, math.max(0, amount - (left - held)))
end


local function let_go_of(tx, c)
  local ok, e = payments.release(tx, c.payment_id, c.let_go)
  if not ok then return nil, e end
  local p, e2 = payments.get(c.payment_id, tx)
  if not p then return nil, e2 end
  return capture_queue.let_go(tx, p)
end


function rest.let_go(tx, order, c, rows)
  local any = c.unpaid > 0
  for _, row in ipairs(rows) do
    if row.let_go > 0 then
      local ok, e = let_go_of(tx, row)
      if not ok then return nil, e end
      any = true
    end
  end
  if not any then return {} end
  local list, e = payments.of_order(order.id, tx)
  if not list then return nil, e end
  local move = c.owed == 0 and payment_status.move(order, list) or nil
  if move == "void" and c.state == "pending" then move = nil end -- once the provider has done it
  if move and not c.whole then
    local ok, e2 = outbox.append(tx, payment_status.told(order, list[1], nil,
      order.payment_status, move))
    if not ok then return nil, e2 end
  end
  return { move and { "payment_status", move } }
end


--- Nothing is left to be sent by it, so what was sent is paid now.
function rest.capture_due(tx, order, c)
  if c.kind ~= "cancel" then return true end
  return capture_queue.cancelled(tx, order, c)
end


return rest
