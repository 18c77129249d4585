-- till/flow/returns - goods that were sent come back, and the money for them.
--
--   take(order_id, wish, actor, transaction, respond) -> what transaction returned | nil, err
--       wish { lines = { { line_id, quantity, restock, location } }, reason, request }; the rest as
--       till.flow.cancellation says, and so is what holds where it breaks off
--
-- A return is decided, paid back and told of as the cancellation of a part is; the figures come
-- from the same frozen splits, so cancellations and returns in any order come to what was paid. It
-- differs in this:
--
--   units      were handed over and did not come back yet
--   stock      only what is fit to be sold again (`restock`), at a location of its own
--   shipping   goes back with the return after which the shopper keeps nothing of the order
--   order      keeps its status: it was placed and sent; `return_status` says what came back
--   promotions stay used
local decision = require "till.flow.cancellation_decision"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local restock = require "till.store.restock"
local states = require "till.flow.order_states"

local returns = {}


local function by_id(order)
  local out = {}
  for _, line in ipairs(order.lines) do out[line.id] = line end
  return out
end


local function refuse_line(order, i, why, code)
  return states.refuse(order, why, { errors = { { pointer = ("/lines/%d"):format(i - 1),
    detail = why, code = code or "range" } } })
end


-- Each line once: what is fit to be sold and what is not are two returns.
local function units_of(order, wish)
  local ok, e = states.allow(order, "return_lines")
  if not ok then return nil, e end
  local lines, out = by_id(order), {}
  for i, item in ipairs(wish.lines) do
    local line = lines[item.line_id]
    if not line then return refuse_line(order, i, "the order has no such line", "unknown") end
    if out[line.id] then
      return refuse_line(order, i, "the line is there twice; record another return for the rest",
        "duplicate")
    end
    local most = states.returnable(order, line)
    if item.quantity > most then
      return refuse_line(order, i, ("only %d of this line were sent and did not come back")
        :format(most))
    end
    out[line.id] = item.quantity
  end
  return out
end


local function lines_of(order, _, wish, tx)
  local lines, out = by_id(order), {}
  for i, item in ipairs(wish.lines) do
    local stock, e = {}, nil
    if item.restock ~= false then
      stock, e = restock.plan(tx, order, lines[item.line_id], item.quantity, item.location)
    end
    if not stock then return nil, e end
    out[i] = { line_id = item.line_id, quantity = item.quantity, stock = stock }
  end
  return out
end


-- An imported order has no money that this shop took.
local function without_trace()
  return { lines = {}, total = 0 }
end


local function count(tx, order, c)
  local lines = by_id(order)
  for _, l in ipairs(c.lines) do
    local ok, e = orders.count_returned(tx, l.line_id, l.quantity)
    if not ok then return nil, e end
    lines[l.line_id].returned_quantity = lines[l.line_id].returned_quantity + l.quantity
  end
  return true
end


local function moves_of(order, c, p)
  local moves = states.return_moves(order, "return")
  if c.whole and not p and order.payment_status == "awaiting" then
    moves[#moves + 1] = { "payment_status", "void" }
  end
  return moves
end


local function tell(tx, order, c)
  local ok, e = orders.event(tx, order.id, "returned", c.actor, { return_id = c.id,
    lines = c.lines, amount = c.amount, reason = c.reason })
  if not ok then return nil, e end
  return outbox.append(tx, { { aggregate = "order:" .. order.id, type = "order.returned",
    payload = { order_id = order.id, return_id = c.id } } })
end


local function stock(tx, _, c)
  local rows = {}
  for _, line in ipairs(c.lines) do
    for _, row in ipairs(line.stock) do rows[#rows + 1] = row end
  end
  return restock.put(tx, rows, { reference = c.id, reason = c.reason, actor = c.actor })
end


local KIND = { name = "return", units = units_of, is_whole = decision.keeps_nothing,
  lines = lines_of, without_trace = without_trace, count = count, moves = moves_of, tell = tell,
  stock = stock }


function returns.take(order_id, wish, actor, transaction, respond)
  return decision.run(KIND, order_id, wish, actor, transaction, respond)
end


return returns
