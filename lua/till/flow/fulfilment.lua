-- till/flow/fulfilment - sending an order, whole or in parts.
--
--   create(tx, order_id, fields, actor) -> order, fulfilment | nil, err
--            all that is there and left, or the lines given; fields.status "pending" packs it and
--            does not hand it over yet
--   ship(tx, order_id, id, fields, actor)     hands it over; number and carrier may come with it
--   track(tx, order_id, id, fields, actor)    another number or carrier, also later
--   cancel(tx, order_id, id, fields, actor)   before it was handed over: its units are left to send
--                                             again
--
-- All in the caller's transaction, which holds the order's row from then on. What may be done when
-- stands in till.flow.order_states.
local capture_queue = require "till.flow.capture_queue"
local err = require "till.util.err"
local fulfilments = require "till.store.fulfilments"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local states = require "till.flow.order_states"

local fulfilment = {}


local function at(i, detail)
  return { errors = { { pointer = ("/lines/%d"):format(i - 1), detail = detail, code = "range" } } }
end


local function all_lines(order)
  local out = {}
  for _, line in ipairs(order.lines) do
    local n = states.sendable(line)
    if n > 0 then out[#out + 1] = { line_id = line.id, quantity = n } end
  end
  return out
end


local function refuse_line(order, line, n, i)
  if not line then return states.refuse(order, "the order has no such line", at(i, "unknown")) end
  local why = ("only %d of this line can be sent"):format(n)
  local waits = line.backordered_quantity or 0
  if waits > 0 then why = ("%s, %d more are not in stock yet"):format(why, waits) end
  return states.refuse(order, why, at(i, "cannot be sent"))
end


local function given_lines(order, given)
  local by_id, left, out, sums = {}, {}, {}, {}
  for _, line in ipairs(order.lines) do
    by_id[line.id], left[line.id] = line, states.sendable(line)
  end
  for i, line in ipairs(given) do
    local n = left[line.line_id]
    if not n or line.quantity > n then return refuse_line(order, by_id[line.line_id], n, i) end
    left[line.line_id] = n - line.quantity
    local sum = sums[line.line_id]
    if not sum then
      sum = { line_id = line.line_id, quantity = 0 }
      sums[line.line_id], out[#out + 1] = sum, sum
    end
    sum.quantity = sum.quantity + line.quantity
  end
  return out
end


-- Adds the units to the lines, with a sign, in the tables and in the order.
local function count(tx, order, lines, sign)
  local by_id = {}
  for _, line in ipairs(order.lines) do by_id[line.id] = line end
  for _, l in ipairs(lines) do
    local ok, e = fulfilments.count(tx, l.line_id, sign * l.quantity)
    if not ok then return nil, e end
    local line = by_id[l.line_id]
    line.fulfilled_quantity = line.fulfilled_quantity + sign * l.quantity
  end
  return true
end


local function tell(tx, order, kind, f, actor)
  return orders.event(tx, order.id, kind, actor, { fulfilment_id = f.id, status = f.status,
    tracking_number = f.tracking_number, carrier = f.carrier, lines = f.lines })
end


-- Plugins are told when it leaves the house, not when it is packed; then its money is due.
local function hand_over(tx, order, f, actor)
  if f.status ~= "shipped" then return true end
  local ok, e = capture_queue.handed_over(tx, order, f, actor)
  if not ok then return nil, e end
  return outbox.append(tx, { { aggregate = "order:" .. order.id, type = "order.fulfilled",
    payload = { order_id = order.id, fulfilment_id = f.id } } })
end


local function done(tx, order, f)
  local now, e = orders.get(order.id, tx)
  if not now then return nil, e end
  return now, f
end


function fulfilment.create(tx, order_id, fields, actor)
  local order, e = order_flow.locked(tx, order_id)
  local ok = order
  if ok then ok, e = states.allow(order, "fulfil") end
  if not ok then return nil, e end
  local given = fields.lines and #fields.lines > 0
  local lines, e2 = (given and given_lines or all_lines)(order, fields.lines)
  if not lines then return nil, e2 end
  local f = { lines = lines, actor = actor, tracking_number = fields.tracking_number,
    carrier = fields.carrier, status = fields.status or "shipped" }
  ok, e = fulfilments.create(tx, order_id, f)
  if ok then ok, e = count(tx, order, lines, 1) end
  if not ok then return nil, e end
  order.fulfilments[#order.fulfilments + 1] = f
  ok, e = states.change(tx, order, states.moves(order, "send"))
  local kind = f.status == "shipped" and "fulfilled" or "packed"
  if ok then ok, e = tell(tx, order, kind, f, actor) end
  if ok then ok, e = hand_over(tx, order, f, actor) end
  if not ok then return nil, e end
  return done(tx, order, f)
end


local function find(tx, order_id, fulfilment_id)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  for _, f in ipairs(order.fulfilments) do
    if f.id == fulfilment_id then return order, f end
  end
  return nil, err.new("not_found", "the order has no such fulfilment")
end


-- The parcel's own move; what becomes of the order follows from it.
local function move(tx, order, f, event)
  local to, why = states.MACHINES.fulfilment:next(f.status, event)
  if not to then return states.refuse(order, "the fulfilment is " .. f.status .. ": " .. why) end
  local ok, e = fulfilments.set(tx, f.id, { status = to })
  if not ok then return nil, e end
  f.status = to
  return true
end


local function set_tracking(tx, f, fields)
  local changed = {}
  for _, name in ipairs { "tracking_number", "carrier" } do
    if fields[name] ~= nil then changed[name], f[name] = fields[name], fields[name] end
  end
  if not next(changed) then return true end
  return fulfilments.set(tx, f.id, changed)
end


function fulfilment.ship(tx, order_id, fulfilment_id, fields, actor)
  local order, f = find(tx, order_id, fulfilment_id)
  if not order then return nil, f end
  local ok, e = move(tx, order, f, "ship")
  if ok then ok, e = set_tracking(tx, f, fields) end
  if ok then ok, e = states.change(tx, order, {}) end
  if ok then ok, e = tell(tx, order, "fulfilled", f, actor) end
  if ok then ok, e = hand_over(tx, order, f, actor) end
  if not ok then return nil, e end
  return done(tx, order, f)
end


function fulfilment.track(tx, order_id, fulfilment_id, fields, actor)
  local order, f = find(tx, order_id, fulfilment_id)
  if not order then return nil, f end
  if f.status == "cancelled" then
    return states.refuse(order, "the fulfilment is cancelled: it has no tracking number")
  end
  local ok, e = set_tracking(tx, f, fields)
  if ok then ok, e = states.change(tx, order, {}) end
  if ok then
    ok, e = orders.event(tx, order_id, "tracking_changed", actor, { fulfilment_id = f.id,
      tracking_number = f.tracking_number, carrier = f.carrier })
  end
  if not ok then return nil, e end
  return done(tx, order, f)
end


function fulfilment.cancel(tx, order_id, fulfilment_id, fields, actor)
  local order, f = find(tx, order_id, fulfilment_id)
  if not order then return nil, f end
  local ok, e = move(tx, order, f, "cancel")
  if ok then ok, e = count(tx, order, f.lines, -1) end
  if ok then ok, e = states.change(tx, order, states.moves(order, "take_back")) end
  if ok then
    ok, e = orders.event(tx, order_id, "fulfilment_cancelled", actor, { fulfilment_id = f.id,
      lines = f.lines, reason = fields.reason })
  end
  if not ok then return nil, e end
  return done(tx, order, f)
end


return fulfilment
