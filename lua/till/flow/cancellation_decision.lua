-- till/flow/cancellation_decision - units that are not wanted any more, and the money for them:
-- what cancellations, returns and refunds have in common.
--
--   run(kind, order_id, wish, actor, transaction, respond) -> what transaction returned | nil, err
--       as till.flow.cancellation says; kind, all of it under the lock of the order:
--         name                     of till.store.cancellations
--         units(order, wish, tx) -> { line id -> units } | nil, err
--         is_whole(order, units)   the order ends with it
--         lines(order, units, wish [, tx]) -> lines as they are stored | nil, err
--         without_trace(order, whole) -> found | nil, err     of an imported order
--         gate(tx, order, wish, c, left) -> true | nil, err    optional; may it be? `left` is
--                                  what was captured and does not go back yet, nil: of nothing
--         with_shipping(wish)      optional; else the shipping goes with the last unit
--         count(tx, order, c, wish)  the units, in the tables and in `order`
--         moves(order, c, payment) of till.flow.order_states
--         tell(tx, order, c, wish) timeline and outbox
--         stock(tx, order, c)      its rows of stock, last
--   keeps_nothing(order, units)    is no unit of it left, when these are gone?
--
-- What is decided comes first, in one transaction; the money follows by the saga of
-- till.flow.cancellation_flow, where a provider has to be asked.
local amount_due = require "till.flow.amount_due"
local answers = require "till.flow.cancellation_answer"
local captures = require "till.flow.captures"
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local figures = require "till.flow.cancellation_figures"
local flow = require "till.flow.cancellation_flow"
local money = require "till.flow.cancellation_money"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local payments = require "till.store.payments"
local rest = require "till.flow.cancellation_rest"
local shares = require "till.flow.cancellation_shares"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"

local decision = {}

local function settle_money(tx, c, p)
  if c.let_go == 0 and (c.money == "void" or c.money == "lowered") then
    return payments.release(tx, p.id, math.min(c.amount - c.unpaid, payments.to_capture(p)))
  end
  return true
end


-- -> its rows, and the moves of the order besides | nil, err
local function create(tx, order, c, p)
  local rows, e = shares.create(tx, c)
  local ok = rows
  if ok and not c.shares then ok, e = settle_money(tx, c, p) end
  if not ok then return nil, e end
  local moves, e2 = rest.let_go(tx, order, c, rows)
  if not moves then return nil, e2 end
  return rows, moves
end


local function write(tx, kind, order, c, p, found, wish)
  local ok, e = kind.count(tx, order, c, wish)
  if not ok then return nil, e end
  local rows, moves = create(tx, order, c, p)
  if not rows then return nil, moves end
  ok, e = orders.ledger(tx, order.id, nil, order.currency, figures.reversed(found))
  if ok then
    for _, move in ipairs(kind.moves(order, c, p)) do moves[#moves + 1] = move end
    ok, e = states.change(tx, order, moves)
  end
  if ok then ok, e = rest.capture_due(tx, order, c) end
  if ok then ok, e = amount_due.lower(tx, order) end
  if ok then ok, e = kind.tell(tx, order, c, wish) end
  if ok then ok, e = flow.enqueue(tx, rows) end
  if ok then ok, e = kind.stock(tx, order, c) end
  if not ok then return nil, e end
  if c.shares then c.parts = rows end
  return c
end


function decision.keeps_nothing(order, units)
  for _, line in ipairs(order.lines) do
    local gone = line.cancelled_quantity + line.returned_quantity + (units[line.id] or 0)
    if gone < line.quantity then return false end
  end
  return true
end


-- Nobody knows yet whose that money is: given back now it may be given twice.
local function check_dispute(order, p, found)
  if not p or p.state ~= "disputed" or found.total == 0 then return true end
  return states.refuse(order, ("payment %s is disputed at the shopper's bank: wait until the"
    .. " dispute is won or lost"):format(p.id))
end


local function figures_of(tx, kind, order, wish, lines, units, whole)
  if wish.amount then return { lines = {}, total = wish.amount, goodwill = wish.amount }, {} end
  -- Whatever came first, cancellations or returns: his shipping is given back with the last unit.
  local shipping = whole or decision.keeps_nothing(order, units)
  if kind.with_shipping then shipping = kind.with_shipping(wish) end
  return figures.of(tx, order, lines, shipping,
    function() return kind.without_trace(order, whole) end)
end


-- A refund leaves the goods with the shopper: what is let go of for it is given away as well.
local function given_of(c)
  if c.kind == "refund" then return c.amount - c.unpaid end
  return c.to_refund or c.amount - c.released_amount
end


-- All that he gives back of an order counts: parts of it are no way around the limit.
-- -> false | true, limit | nil, err
function decision.over_limit(tx, order_id, wish, c)
  local limit = wish.limit and wish.limit(c.currency)
  if not limit then return false end
  local given, e = cancellations.given_by(tx, order_id, wish.actor)
  if not given then return nil, e end
  if given + given_of(c) <= limit then return false end
  return true, limit
end


-- A role that may not give back so much leaves the whole to another one: no unit moves either.
local function allowed(tx, kind, order, wish, c, left)
  if kind.gate then return kind.gate(tx, order, wish, c, left) end
  if c.money ~= "refund" then return true end
  local over, limit = decision.over_limit(tx, order.id, wish, c)
  if over == nil then return nil, limit end
  if not over then return true end
  local amount = given_of(c)
  return nil, err.new("forbidden", ("%d would be refunded, and your limit of an order is %d;"
    .. " somebody with a higher one has to do it"):format(amount, limit))
end


-- -> cancellation as it is to be written, and its figures
local function worked_out(tx, kind, order, wish, p, paid)
  local units, e = kind.units(order, wish, tx)
  if not units then return nil, e end
  local whole = kind.is_whole(order, units)
  local lines, e2 = kind.lines(order, units, wish, tx)
  if not lines then return nil, e2 end
  local found, frozen = figures_of(tx, kind, order, wish, lines, units, whole)
  if not found then return nil, frozen end
  for _, one in ipairs(paid or { p or nil }) do
    local free, why = check_dispute(order, one, found)
    if not free then return nil, why end
  end
  figures.add_to(lines, found, frozen)
  local c = { kind = kind.name, order_id = order.id, request = wish.request, whole = whole,
    lines = lines, shipping = found.shipping, currency = order.currency, reason = wish.reason }
  local ok, left = money.add(tx, order, c, p, paid, found)
  if not ok then return nil, left end
  local why
  ok, why = allowed(tx, kind, order, wish, c, left)
  if not ok then return nil, why end
  return c, found
end


-- The record of a request that had no outcome yet is taken back, so its body is compared here.
local function is_another(kind, known, wish)
  if known.kind ~= kind.name then return true end
  if wish.amount and wish.amount ~= known.amount then return true end
  if known.kind == "refund" and #known.lines ~= #(wish.lines or {}) then return true end
  if not wish.lines or #wish.lines == 0 then return false end
  local units = {}
  for _, line in ipairs(known.lines) do units[line.line_id] = line.quantity end
  for _, item in ipairs(wish.lines) do
    units[item.line_id] = (units[item.line_id] or 0) - item.quantity
  end
  for _, n in pairs(units) do if n ~= 0 then return true end end
  return false
end


-- Under the lock of the order -> cancellation, order
local function decide(tx, kind, order_id, wish, actor)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  local known, e2 = cancellations.by_request(order_id, wish.request, tx)
  if known then known, e2 = cancellations.whole(known, tx) end
  if known == nil then return nil, e2 end
  if known and is_another(kind, known, wish) then
    return nil, err.new("idempotency_key_reused",
      "This Idempotency-Key was used with another body. Make a new key for a new request.")
  end
  if known then return known, order end
  local p, paid = money.of_order(tx, order_id)
  if p == nil then return nil, paid end
  local c, found = worked_out(tx, kind, order, wish, p, paid)
  if not c then return nil, found end
  for _, one in ipairs(paid or { p or nil }) do
    local busy, e5 = false, nil
    if captures.may_be_busy(one) then busy, e5 = captures.is_busy(tx, one) end
    if busy == nil then return nil, e5 end
    if busy then
      return nil, err.new("busy", "a capture of this order has no outcome yet; try again")
    end
  end
  c.actor = actor
  local ok, e4 = write(tx, kind, order, c, p, found, wish)
  if not ok then return nil, e4 end
  return c, order
end


-- One that was begun is ended first, whoever began it: its amount is fixed.
local function end_captures(order_id)
  local p, paid = money.of_order(nil, order_id)
  if p == nil then return nil, paid end
  for _, one in ipairs(paid or { p or nil }) do
    if captures.may_be_busy(one) then
      local ok, e = captures.end_open(one)
      if not ok then return nil, e end
    end
  end
  return true
end


-- -> cancellation, answer: of one that asks nobody the answer is written with it
local function begin(kind, order_id, wish, actor, transaction, respond)
  local c, order, answer
  local ok, e = sql.transaction(function(tx)
    c, order = decide(tx, kind, order_id, wish, actor)
    if not c then return nil, order end
    return true
  end)
  if not ok then return nil, e end
  if c.state == "done" then
    answer, e = answers.of(c.id, transaction, respond)
    if not answer then return nil, e end
  end
  return c, answer
end


function decision.run(kind, order_id, wish, actor, transaction, respond)
  wish.actor = actor
  local ok, e = end_captures(order_id)
  if not ok then return nil, e end
  local c, answer = begin(kind, order_id, wish, actor, transaction, respond)
  if not c then return nil, answer end
  if answer then return answer end
  return answers.go_on(c, transaction, respond)
end


return decision
