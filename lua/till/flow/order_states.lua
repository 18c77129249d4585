-- till/flow/order_states - what may become of an order: the tables of legal moves, their guards.
--
--   MACHINES.status          of the order
--   MACHINES.payment_status  of its money: what the shop may take, has, and gave back
--   MACHINES.fulfilment_status   of its goods; lines have the same one; `fulfilment`: of one parcel
--   MACHINES.return_status   of what was sent: did it come back?
--   change(tx, order, moves) -> true | nil, err    moves: { { "status", "cancel" }, … }, events of
--                            the machines by their fields; all or none. `order` is locked, changed
--                            too, and completed where all is sent and paid; its version is raised
--   begin(field, event)      the state in which an order is placed
--   goods_moves(order, what) the moves of fulfilment_status after the lines were changed by "send",
--                            "take_back" or "cancel"; none where it stays as it is
--   return_moves(order, what)    likewise of return_status, after "return", "send", "take_back"
--   moves(order, what), of_line(line)    both; fulfilment status of one line
--   left(line), sendable(line)   units that are neither sent nor cancelled; of these, those there
--   returnable(order, line)  units that were handed over and did not come back
--   possible(order), allow(order, action) -> true | nil, err(conflict)    names of ACTIONS, now
--   refuse(order, why [, fields])  -> nil, err(conflict) that says what is possible
--
-- An order is one of till.store.orders with lines and fulfilments. A move that is not in the tables
-- is a 409. They are checked when this is loaded, and docs/orders.md prints them.
local db = require "till.store.db"
local err = require "till.util.err"
local fsm = require "till.util.fsm"
local json = require "till.prim.json"
local order_owed = require "till.flow.order_owed"
local orders = require "till.store.orders"
local payment_moves = require "till.flow.payment_moves"
local payment_status = require "till.flow.payment_status"
local time = require "till.prim.time"

local states = {}


function states.left(line)
  return line.quantity - line.fulfilled_quantity - (line.cancelled_quantity or 0)
end


function states.sendable(line)
  return states.left(line) - (line.backordered_quantity or 0)
end


-- Packed and not handed over: nobody can send it back.
function states.returnable(order, line)
  local n = line.fulfilled_quantity - (line.returned_quantity or 0)
  for _, f in ipairs(order.fulfilments) do
    for _, l in ipairs(f.status == "pending" and f.lines or {}) do
      n = n - (l.line_id == line.id and l.quantity or 0)
    end
  end
  return n
end


local function any_line(order, fn)
  for _, line in ipairs(order.lines) do if fn(line) > 0 then return true end end
  return false
end


local function any_pending(order)
  for _, f in ipairs(order.fulfilments) do
    if f.status == "pending" then return true end
  end
  return false
end


local function nothing_sent(order)
  local function sent(line) return line.fulfilled_quantity end
  return not any_line(order, sent), "a part of the order was sent or packed already"
end


-- Voided: nothing of it may be captured; whether it is owed tells till.flow.order_owed.
local OWED_NO_MORE = { captured = true, partially_refunded = true, refunded = true, voided = true }


local function is_settled(order)
  if any_line(order, states.left) or any_pending(order) then
    return false, "not everything was sent"
  end
  return OWED_NO_MORE[order.payment_status] or false, "it is not paid"
end


local SOME_CAME = "units that were sent came back, others did not"

local MACHINES = {
  status = fsm.define("order", {
    initial = "placed", final = { "cancelled", "completed" },
    { from = "placed", event = "cancel", to = "cancelled", guard = nothing_sent,
      when = "nothing was sent or packed" },
    { from = "placed", event = "complete", to = "completed", guard = is_settled,
      when = "all that was not cancelled is shipped, and paid, or nothing is owed any more" },
  }),

  payment_status = payment_moves,

  fulfilment_status = fsm.define("fulfilment_status", {
    initial = "unfulfilled", final = { "cancelled" },
    { from = "unfulfilled", event = "send_part", to = "partial",
      when = "some units are in fulfilments, others are left" },
    { from = "unfulfilled", event = "send_rest", to = "fulfilled", when = "no unit is left" },
    { from = "unfulfilled", event = "cancel_all", to = "cancelled",
      when = "no unit is left, and none was sent" },
    { from = "partial", event = "send_rest", to = "fulfilled", when = "no unit is left" },
    { from = "partial", event = "take_back_all", to = "unfulfilled",
      when = "a pending fulfilment was cancelled, none holds units" },
    { from = "partial", event = "cancel_rest", to = "fulfilled",
      when = "what was not sent was cancelled" },
    { from = "fulfilled", event = "take_back_part", to = "partial",
      when = "a pending fulfilment was cancelled, another holds units" },
    { from = "fulfilled", event = "take_back_all", to = "unfulfilled",
      when = "a pending fulfilment was cancelled, none holds units" },
  }),

  return_status = fsm.define("return_status", {
    initial = "none",
    { from = "none", event = "return_part", to = "partial", when = SOME_CAME },
    { from = "none", event = "return_rest", to = "returned", when = "all that was sent came back" },
    { from = "partial", event = "return_part", to = "partial", when = SOME_CAME },
    { from = "partial", event = "return_rest", to = "returned",
      when = "all that was sent came back" },
    { from = "partial", event = "take_back_rest", to = "returned",
      when = "a pending fulfilment was cancelled, all that was sent had come back" },
    { from = "returned", event = "send_more", to = "partial",
      when = "other units were sent after that" },
  }),

  fulfilment = fsm.define("fulfilment", {
    initial = "pending", final = { "shipped", "cancelled" },
    { from = "pending", event = "ship", to = "shipped" },
    { from = "pending", event = "cancel", to = "cancelled" },
  }),
}

states.MACHINES = MACHINES


local function is_open(order)
  return order.status == "placed", "the order is " .. order.status
end


local function can_send(order)
  if not is_open(order) then return is_open(order) end
  if any_line(order, states.sendable) then return true end
  return false, any_line(order, states.left) and "what is left is not in stock yet"
    or "everything was sent already"
end


local function can_cancel_lines(order)
  if not is_open(order) then return is_open(order) end
  return any_line(order, states.left), "nothing is left to cancel"
end


local function can_cancel(order)
  local to, why = MACHINES.status:next(order.status, "cancel", order)
  return to ~= nil, why
end


local function can_capture(order)
  if order.status == "cancelled" then return false, "the order is cancelled" end
  return MACHINES.payment_status:can(order.payment_status, "capture"),
    "its payment is " .. order.payment_status
end


local function can_return(order)
  return any_line(order, function(line) return states.returnable(order, line) end),
    "nothing that was sent is left to come back"
end


local function has_parcel(order)
  return any_pending(order), "no fulfilment is waiting to be handed over"
end


-- What staff may ask for: name, guard, what it takes in words.
states.ACTIONS = {
  { "fulfil", can_send, "placed, with units that are there and not sent" },
  { "ship_fulfilment", has_parcel, "a fulfilment is pending" },
  { "cancel_fulfilment", has_parcel, "a fulfilment is pending" },
  { "cancel", can_cancel, "placed, and nothing was sent or packed" },
  { "cancel_lines", can_cancel_lines, "placed, with units that are not sent" },
  { "return_lines", can_return, "units were handed over and did not come back" },
  { "capture", can_capture, "not cancelled, and money for it may be captured" },
}


function states.possible(order)
  local out = {}
  for _, action in ipairs(states.ACTIONS) do
    if action[2](order) then out[#out + 1] = action[1] end
  end
  return out
end


function states.refuse(order, why, fields)
  local possible = states.possible(order)
  local out = { possible = json.array(possible) }
  for name, value in pairs(fields or {}) do out[name] = value end
  return nil, err.new("conflict", ("%s; possible now: %s"):format(why,
    #possible > 0 and table.concat(possible, ", ") or "nothing"), out)
end


function states.allow(order, name)
  for _, action in ipairs(states.ACTIONS) do
    if action[1] == name then
      local good, why = action[2](order)
      if good then return true end
      return states.refuse(order, why)
    end
  end
  error("there is no action " .. tostring(name), 2)
end


function states.begin(field, event)
  return assert(MACHINES[field]:next(MACHINES[field].initial, event))
end


local function goods_of(lines)
  local sent, left, cancelled = 0, 0, 0
  for _, line in ipairs(lines) do
    sent, left = sent + line.fulfilled_quantity, left + states.left(line)
    cancelled = cancelled + (line.cancelled_quantity or 0)
  end
  if left > 0 then return sent > 0 and "partial" or "unfulfilled" end
  if sent > 0 or cancelled == 0 then return "fulfilled" end
  return "cancelled"
end


function states.of_line(line)
  return goods_of { line }
end


local EVENTS = {
  send = { partial = "send_part", fulfilled = "send_rest" },
  take_back = { partial = "take_back_part", unfulfilled = "take_back_all" },
  cancel = { fulfilled = "cancel_rest", cancelled = "cancel_all" },
}


function states.goods_moves(order, what)
  local now = goods_of(order.lines)
  if now == order.fulfilment_status then return {} end
  local event = EVENTS[what][now]
  if not event then error("nothing that is called " .. what .. " makes it " .. now, 2) end
  return { { "fulfilment_status", event } }
end


local RETURN_EVENTS = {
  ["return"] = { partial = "return_part", returned = "return_rest" },
  send = { partial = "send_more" },
  take_back = { returned = "take_back_rest" },
}


local function returned_of(lines)
  local sent, back = 0, 0
  for _, line in ipairs(lines) do
    sent, back = sent + line.fulfilled_quantity, back + (line.returned_quantity or 0)
  end
  if back == 0 then return "none" end
  return back < sent and "partial" or "returned"
end


function states.return_moves(order, what)
  local now = returned_of(order.lines)
  if now == (order.return_status or "none") and what ~= "return" then return {} end
  local event = RETURN_EVENTS[what][now]
  if not event then error("nothing that is called " .. what .. " makes it " .. now, 2) end
  return { { "return_status", event } }
end


function states.moves(order, what)
  local out = states.goods_moves(order, what)
  for _, move in ipairs(states.return_moves(order, what)) do out[#out + 1] = move end
  return out
end


-- Of one that is cancelled nobody is told that it is paid, so it never was.
local function note_paid(order, from, event, fields)
  order.is_paid_first = false
  if order.paid_at or order.status == "cancelled" then return end
  if not payment_status.pays(from, event) then return end
  order.paid_at, order.is_paid_first = time.rfc3339(time.now_ms()), true
  fields.paid_at = db.at(order.paid_at)
end


-- The guard of the second sees what the first made. Where one is refused nothing is written.
function states.change(tx, order, moves)
  local fields = {}
  for _, move in ipairs(moves) do
    local field, event = move[1], move[2]
    local to, why = MACHINES[field]:next(order[field], event, order)
    if not to then return states.refuse(order, why) end
    if field == "payment_status" then note_paid(order, order[field], event, fields) end
    fields[field], order[field] = to, to
  end
  local is_over, e = order_owed.completes(tx, order, MACHINES.status)
  if is_over then fields.status, order.status = "completed", "completed" end
  local ok = is_over ~= nil
  if ok then ok, e = orders.set(tx, order.id, fields) end
  if not ok then return nil, e end
  order.version = order.version + 1
  return true
end


return states
