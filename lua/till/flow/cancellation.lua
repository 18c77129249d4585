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
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local figures = require "till.flow.cancellation_figures"
local flow = require "till.flow.cancellation_flow"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local payments = require "till.store.payments"
local promotions = require "till.store.promotions"
local sagas = require "till.store.sagas"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"

local cancellation = {}

local FIRST_LOOK_MS = 5000


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


local function payment_of(tx, order_id)
  local list, e = payments.of_order(order_id, tx)
  if not list then return nil, e end
  for _, p in ipairs(list) do
    if p.state == "authorized" or p.state == "captured" then return p end
  end
  return false
end


-- What has to be done about the money of it.
local function money_of(p, amount, whole)
  if not p then return "none" end
  if p.state == "captured" then return amount > 0 and "refund" or "none" end
  if whole or amount > 0 and payments.to_capture(p) == amount then return "void" end
  return amount > 0 and "lowered" or "none"
end


local PROVIDER = { void = true, refund = true }


local function settle_money(tx, c, p)
  if c.money == "void" or c.money == "lowered" then
    return payments.release(tx, p.id, math.min(c.amount, payments.to_capture(p)))
  end
  return true
end


local function moves_of(order, c, p)
  local moves = states.goods_moves(order, "cancel")
  if c.whole then moves[#moves + 1] = { "status", "cancel" } end
  if c.whole and not p and order.payment_status == "awaiting" then
    moves[#moves + 1] = { "payment_status", "void" }
  end
  return moves
end


local function count_units(tx, order, lines)
  local by_id, units = {}, {}
  for _, line in ipairs(order.lines) do by_id[line.id] = line end
  for _, l in ipairs(lines) do
    local line = by_id[l.line_id]
    local ok, e = orders.count_cancelled(tx, l.line_id, l.quantity)
    if not ok then return nil, e end
    line.cancelled_quantity = line.cancelled_quantity + l.quantity
    if line.variant_id then
      units[line.variant_id] = (units[line.variant_id] or 0) + l.quantity
    end
  end
  return units
end


local function tell(tx, order, c)
  local ok, e = orders.event(tx, order.id, c.whole and "cancelled" or "lines_cancelled", c.actor,
    { cancellation_id = c.id, lines = c.lines, amount = c.amount, reason = c.reason })
  if not ok then return nil, e end
  return outbox.append(tx, { { aggregate = "order:" .. order.id,
    type = c.whole and "order.cancelled" or "order.lines_cancelled",
    payload = { order_id = order.id, cancellation_id = c.id } } })
end


local function write(tx, order, c, p, found)
  local units, e = count_units(tx, order, c.lines)
  if not units then return nil, e end
  local ok
  ok, e = cancellations.create(tx, c)
  if ok then ok, e = settle_money(tx, c, p) end
  if ok then ok, e = orders.ledger(tx, order.id, nil, order.currency, figures.reversed(found)) end
  if ok then ok, e = states.change(tx, order, moves_of(order, c, p)) end
  if ok and c.whole then ok, e = promotions.unredeem(tx, order.id) end
  if ok then ok, e = tell(tx, order, c) end
  if ok and c.state == "pending" then
    ok, e = sagas.enqueue(tx, "cancellation", c.id, { order_id = order.id,
      payment_id = c.payment_id, amount = c.amount, money = c.money }, FIRST_LOOK_MS)
  end
  if ok then ok, e = allotment.take_back(tx, order.id, order.cart_id, c.actor, units) end
  if not ok then return nil, e end
  return c
end


local function units_of(order, wish)
  local given = wish.lines and #wish.lines > 0
  local ok, e = states.allow(order, given and "cancel_lines" or "cancel")
  if not ok then return nil, e end
  return (given and wanted or all_left)(order, wish.lines)
end


-- Under the lock of the order -> cancellation, order
local function decide(tx, order_id, wish, actor)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  local known, e2 = cancellations.by_request(order_id, wish.request, tx)
  if known or known == nil then return known, known and order or e2 end
  local units, e3 = units_of(order, wish)
  if not units then return nil, e3 end
  local p, e4 = payment_of(tx, order_id)
  if p == nil then return nil, e4 end
  if p and p.state == "authorized" and p.capture_amount then
    return nil, err.new("busy", "a capture of this order has no outcome yet; try again")
  end
  local whole, lines = is_whole(order, units), lines_of(order, units)
  local found, frozen = figures.of(tx, order, lines, whole)
  if not found then return nil, frozen end
  figures.add_to(lines, found, frozen)
  local money = money_of(p, found.total, whole)
  local c = { order_id = order_id, request = wish.request, whole = whole, lines = lines,
    shipping = found.shipping, currency = order.currency, amount = found.total, money = money,
    payment_id = p and p.id or nil, reason = wish.reason, actor = actor,
    state = PROVIDER[money] and "pending" or "done" }
  local ok, e5 = write(tx, order, c, p, found)
  if not ok then return nil, e5 end
  return c, order
end


-- One that was begun is ended first, whoever began it: its amount is fixed.
local function end_capture(order_id)
  local p, e = payment_of(nil, order_id)
  if p == nil then return nil, e end
  if not p or p.state ~= "authorized" or not p.capture_amount then return true end
  local ok, e2 = order_flow.capture(p.id, "system")
  if ok or err.is(e2, "payment_declined") then return true end
  return nil, e2
end


local function answer_of(id, transaction, respond)
  return transaction(function(tx)
    local c, e = flow.found(id, tx)
    if not c then return nil, e end
    local order, e2 = orders.get(c.order_id, tx)
    if not order then return nil, e2 end
    return respond(order, c)
  end)
end


-- -> cancellation, answer: of one that asks nobody the answer is written with it
local function begin(order_id, wish, actor, transaction, respond)
  local c, order, answer
  local ok, e = sql.transaction(function(tx)
    c, order = decide(tx, order_id, wish, actor)
    if not c then return nil, order end
    return true
  end)
  if not ok then return nil, e end
  if c.state == "done" then
    answer, e = answer_of(c.id, transaction, respond)
    if not answer then return nil, e end
  end
  return c, answer
end


function cancellation.cancel(order_id, wish, actor, transaction, respond)
  local ok, e = end_capture(order_id)
  if not ok then return nil, e end
  local c, answer = begin(order_id, wish, actor, transaction, respond)
  if not c then return nil, answer end
  if answer then return answer end
  local env = { transaction = transaction, respond = respond }
  local state, e2 = flow.run(c.id, env)
  if state == nil then return nil, e2 end
  if env.answer then return env.answer end
  if state ~= "done" then return answer_of(c.id, sql.transaction, respond) end
  -- Where the answer to the last COMMIT was lost, what it recorded is there: it is told, no more.
  answer, e2 = answer_of(c.id, transaction, respond)
  if not answer and err.is(e2, "conflict") then
    return answer_of(c.id, sql.transaction, respond)
  end
  return answer, e2
end


return cancellation
