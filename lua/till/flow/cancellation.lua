-- till/flow/cancellation - an order that is not sent, or a part of it, and the money for that.
--
--   cancel(order_id, wish, actor, transaction, respond) -> what transaction returned | nil, err
--       wish { lines = { { line_id, quantity } } or nil: the whole order, reason, request: what
--       makes one request of its repetitions }; respond(order, cancellation) makes the answer
--       in the transaction that ends it
--
-- What is decided comes first, in one transaction under the lock of the order: the units are
-- cancelled, their ledger reversed, their stock given back, redemptions of a whole order returned.
-- From then on nobody can send them. The money follows:
--
--   not captured     less will be captured (nobody is asked), or, of the whole, it is voided
--   captured         refunded, in the amounts that rule/refund finds for units m .. m+k-1 of each
--                    line: the parts, in any order, come to what was paid
--
-- Where a provider has to be asked the decision leaves a saga behind, `cancellation`: step `money`
-- asks under a key of this cancellation, step `book` writes it down. Where it dies:
--
--   before the decision         nothing has happened
--   after it                    the same request finds it and goes on, and so does a jobs worker
--   after the provider's answer it is asked again under the same key, which changes nothing
--   after the booking           all is done; the same request is told so
--
-- No answer, or a refusal: nothing is undone, the saga waits and is parked in the end.
local allotment = require "till.store.allotment"
local decision = require "till.flow.cancellation_decision"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local promotions = require "till.store.promotions"
local states = require "till.flow.order_states"

local cancellation = {}


local function refuse_line(order, line, i)
  local why = line and ("only %d of this line are left to cancel"):format(states.left(line))
    or "the order has no such line"
  return states.refuse(order, why, { errors = { { pointer = ("/lines/%d"):format(i - 1),
    detail = "cannot be cancelled", code = "range" } } })
end


-- -> { line id -> units }
local function wanted(order, given)
  local by_id, out = {}, {}
  for _, line in ipairs(order.lines) do by_id[line.id] = line end
  for i, item in ipairs(given) do
    local line, n = by_id[item.line_id], (out[item.line_id] or 0) + item.quantity
    if not line or n > states.left(line) then return refuse_line(order, line, i) end
    out[item.line_id] = n
  end
  return out
end


local function all_left(order)
  local out = {}
  for _, line in ipairs(order.lines) do
    local n = states.left(line)
    if n > 0 then out[line.id] = n end
  end
  return out
end


-- Nothing was sent, and nothing is left: the order ends with it.
local function is_whole(order, units)
  for _, line in ipairs(order.lines) do
    local stays = states.left(line) - (units[line.id] or 0)
    if line.fulfilled_quantity > 0 or stays > 0 then return false end
  end
  return true
end


local function lines_of(order, units)
  local out = {}
  for _, line in ipairs(order.lines) do
    if (units[line.id] or 0) > 0 then
      out[#out + 1] = { line_id = line.id, quantity = units[line.id] }
    end
  end
  return out
end


local function units_of(order, wish)
  local given = wish.lines and #wish.lines > 0
  local ok, e = states.allow(order, given and "cancel_lines" or "cancel")
  if not ok then return nil, e end
  return (given and wanted or all_left)(order, wish.lines)
end


local function moves_of(order, c, p)
  local moves = states.goods_moves(order, "cancel")
  if c.whole then moves[#moves + 1] = { "status", "cancel" } end
  if c.whole and not p and order.payment_status == "awaiting" then
    moves[#moves + 1] = { "payment_status", "void" }
  end
  return moves
end


local function count_units(tx, order, c)
  local by_id = {}
  for _, line in ipairs(order.lines) do by_id[line.id] = line end
  for _, l in ipairs(c.lines) do
    local line = by_id[l.line_id]
    local ok, e = orders.count_cancelled(tx, l.line_id, l.quantity)
    if not ok then return nil, e end
    line.cancelled_quantity = line.cancelled_quantity + l.quantity
  end
  return true
end


local function tell(tx, order, c)
  local ok, e = true, nil
  if c.whole then ok, e = promotions.unredeem(tx, order.id) end
  if ok then
    ok, e = orders.event(tx, order.id, c.whole and "cancelled" or "lines_cancelled", c.actor,
      { cancellation_id = c.id, lines = c.lines, amount = c.amount, reason = c.reason })
  end
  if not ok then return nil, e end
  return outbox.append(tx, { { aggregate = "order:" .. order.id,
    type = c.whole and "order.cancelled" or "order.lines_cancelled",
    payload = { order_id = order.id, cancellation_id = c.id } } })
end


local function give_back_stock(tx, order, c)
  local by_id, units = {}, {}
  for _, line in ipairs(order.lines) do by_id[line.id] = line end
  for _, l in ipairs(c.lines) do
    local variant = by_id[l.line_id].variant_id
    if variant then units[variant] = (units[variant] or 0) + l.quantity end
  end
  return allotment.take_back(tx, order.id, order.cart_id, c.actor, units)
end


-- An imported order has no price trace, and no money that this shop took.
local function without_trace(order, whole)
  if whole then return { lines = {}, total = 0 } end
  return states.refuse(order, "it has no price trace, so it is cancelled whole or not at all")
end


local KIND = { name = "cancel", units = units_of, is_whole = is_whole, lines = lines_of,
  without_trace = without_trace, count = count_units, moves = moves_of, tell = tell,
  stock = give_back_stock }


function cancellation.cancel(order_id, wish, actor, transaction, respond)
  return decision.run(KIND, order_id, wish, actor, transaction, respond)
end


return cancellation
