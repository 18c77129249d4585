-- till/flow/order - what happens to an order after it was placed.
--
--   get(auth, id)                 the shopper's view: of his key or himself, else not found
--   fulfil(tx, id, fields, actor) -> order | nil, err     all that is left, or the lines given
--   capture(payment_id, actor)    -> payment | nil, err   asks the provider, then books it
--   cancel(id, actor, transaction) -> what transaction returned | nil, err
--   alone(id, fn)                 what fn returned; no other `alone` of this order runs meanwhile
local err = require "till.util.err"
local fsm = require "till.util.fsm"
local inventory = require "till.store.inventory"
local lock = require "till.prim.lock"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local payment = require "till.flow.payment"
local payments = require "till.store.payments"
local place = require "till.flow.place"
local promotions = require "till.store.promotions"
local sql = require "till.prim.sql"

local order_flow = {}


local function nothing_sent(order)
  return order.fulfilment_status == "unfulfilled", "a part of the order was sent already"
end


order_flow.states = fsm.define("order", {
  initial = "placed", final = { "cancelled", "completed" },
  { from = "placed", event = "cancel", to = "cancelled", guard = nothing_sent },
  { from = "placed", event = "complete", to = "completed" },
})


--- Cancelling gives money back before it can lock the row, so that nobody must send the goods
--- meanwhile. Without Redis the row's own lock still lets only one of the two through.
function order_flow.alone(order_id, fn)
  local ran = false
  local result, e = lock.with("order:" .. order_id, { lease_ms = 30000, wait_ms = 3000 }, function()
    ran = true
    return fn()
  end)
  if not ran and err.is(e, "busy") then
    return nil, err.new("busy", "another change of this order is running; try again")
  elseif not ran and err.is(e, "conn_lost") then
    return fn()
  end
  return result, e
end


local function missing()
  return nil, err.new("not_found", "there is no such order")
end


function order_flow.get(auth, order_id)
  local order, e = orders.get(order_id)
  if order == nil then return nil, e end
  if not order then return missing() end
  local his = order.customer_id and order.customer_id == auth.customer_id
  local of_key = order.key_id and order.key_id == auth.key_id and not order.customer_id
  if not his and not of_key then return missing() end
  return order
end


local function locked(tx, order_id)
  local order, e = orders.lock(tx, order_id)
  if order == nil then return nil, e end
  if not order then return missing() end
  return order
end


local function left_of(order)
  local out, any = {}, false
  for _, line in ipairs(order.lines) do
    out[line.id] = line.quantity - line.fulfilled_quantity
    any = any or out[line.id] > 0
  end
  return out, any
end


local function wanted_lines(order, given)
  local left, any = left_of(order)
  if not any then return nil, err.new("conflict", "everything was sent already") end
  local out = {}
  if not given or #given == 0 then
    for _, line in ipairs(order.lines) do
      if left[line.id] > 0 then out[#out + 1] = { line_id = line.id, quantity = left[line.id] } end
    end
    return out
  end
  for i, line in ipairs(given) do
    local n = left[line.line_id]
    if not n or line.quantity > n then
      return nil, err.new("conflict", n and ("only %d of this line are left to send"):format(n)
        or "the order has no such line", { errors = { { pointer = ("/lines/%d"):format(i - 1),
          detail = "cannot be sent", code = "range" } } })
    end
    left[line.line_id] = n - line.quantity
    out[i] = { line_id = line.line_id, quantity = line.quantity }
  end
  return out
end


local function is_all_sent(order, lines)
  local left = left_of(order)
  for _, line in ipairs(lines) do left[line.line_id] = left[line.line_id] - line.quantity end
  for _, n in pairs(left) do
    if n > 0 then return false end
  end
  return true
end


local function status_after(order, all_sent)
  local out = { fulfilment_status = all_sent and "fulfilled" or "partial" }
  if all_sent and order.payment_status == "captured" then out.status = "completed" end
  return out
end


function order_flow.fulfil(tx, order_id, fields, actor)
  local order, e = locked(tx, order_id)
  if not order then return nil, e end
  if order.status ~= "placed" then
    return nil, err.new("conflict", "the order is " .. order.status)
  end
  local lines, e2 = wanted_lines(order, fields.lines)
  if not lines then return nil, e2 end
  local fulfilment_id, e3 = orders.fulfil(tx, order_id, { lines = lines, actor = actor,
    tracking_number = fields.tracking_number, carrier = fields.carrier })
  if not fulfilment_id then return nil, e3 end
  local ok, e4 = orders.set(tx, order_id, status_after(order, is_all_sent(order, lines)))
  if ok then
    ok, e4 = orders.event(tx, order_id, "fulfilled", actor, { fulfilment_id = fulfilment_id,
      tracking_number = fields.tracking_number, lines = lines })
  end
  if ok then
    ok, e4 = outbox.append(tx, { { aggregate = "order:" .. order_id, type = "order.fulfilled",
      payload = { order_id = order_id, fulfilment_id = fulfilment_id } } })
  end
  if not ok then return nil, e4 end
  return orders.get(order_id, tx), fulfilment_id
end


local function book_capture(tx, p, order, actor)
  local ok, e = payment.move(p, "captured", {}, tx)
  if ok then
    ok, e = orders.ledger(tx, order.id, p.id, p.currency, { { "cash:" .. p.provider, p.amount },
      { "receivable", -p.amount } })
  end
  if ok then
    local fields = { payment_status = "captured" }
    if order.fulfilment_status == "fulfilled" and order.status == "placed" then
      fields.status = "completed"
    end
    ok, e = orders.set(tx, order.id, fields)
  end
  if ok then ok, e = orders.event(tx, order.id, "captured", actor, { payment_id = p.id }) end
  if ok then
    ok, e = outbox.append(tx, { { aggregate = "order:" .. order.id, type = "order.paid",
      payload = { order_id = order.id } } })
  end
  return ok, e
end


function order_flow.capture(payment_id, actor, transaction)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  if p.state ~= "captured" then
    if not p.order_id or not payment.states:can(p.state, "captured") or p.state ~= "authorized" then
      return nil, err.new("conflict", "a payment that is " .. p.state .. " cannot be captured")
    end
    local answer, e2 = payment.ask_capture(p)
    if not answer then return nil, e2 end
  end
  return (transaction or sql.transaction)(function(tx)
    local order, e3 = locked(tx, p.order_id)
    if not order then return nil, e3 end
    local now, e4 = payments.get(payment_id, tx)
    if not now then return nil, e4 end
    if now.state == "captured" then return now end
    local ok, e5 = book_capture(tx, now, order, actor)
    if not ok then return nil, e5 end
    return payments.get(payment_id, tx)
  end)
end


-- The money goes back first: an order is not cancelled while the shop still holds it.
local function give_back(order)
  local list, e = payments.of_order(order.id)
  if not list then return nil, e end
  local moved = {}
  for _, p in ipairs(list) do
    if p.state == "captured" then
      local answer, e2 = payment.ask_refund(p)
      if not answer then return nil, e2 end
      moved[#moved + 1] = { payment = p, event = "refunded" }
    elseif p.state == "authorized" or p.state == "voided" then -- by a cancelling that broke off
      local ok, e2 = payment.void(p)
      if not ok then return nil, e2 end
      moved[#moved + 1] = { payment = p, event = "voided" }
    end
  end
  return moved
end


local function book_back(tx, order, moved, result)
  local fields = { status = "cancelled" }
  for _, m in ipairs(moved) do
    fields.payment_status = m.event == "refunded" and "refunded" or "voided"
    if m.event == "refunded" then
      local ok, e = payment.move(m.payment, "refunded", {}, tx)
      if ok then
        ok, e = orders.ledger(tx, order.id, m.payment.id, order.currency, {
          { "cash:" .. m.payment.provider, -m.payment.amount },
          { "receivable", m.payment.amount } })
      end
      if not ok then return nil, e end
    end
  end
  if not fields.payment_status and order.payment_status == "awaiting" then
    fields.payment_status = "voided"
  end
  if result then
    local ok, e = orders.ledger(tx, order.id, nil, order.currency, place.ledger(result, -1))
    if not ok then return nil, e end
  end
  return orders.set(tx, order.id, fields)
end


local function cancel(order_id, actor, transaction)
  local order, e = orders.get(order_id)
  if order == nil then return nil, e end
  if not order then return missing() end
  local to, why = order_flow.states:next(order.status, "cancel", order)
  if not to then return nil, err.new("conflict", why) end
  local trace, e2 = orders.trace(order_id)
  if trace == nil then return nil, e2 end
  local moved, e3 = give_back(order)
  if not moved then return nil, e3 end
  return transaction(function(tx)
    local now, e4 = locked(tx, order_id)
    if not now then return nil, e4 end
    to, why = order_flow.states:next(now.status, "cancel", now)
    if not to then return nil, err.new("conflict", why) end
    local ok, e5 = book_back(tx, now, moved, trace and trace.result)
    if ok then ok, e5 = promotions.unredeem(tx, order_id) end
    if ok then ok, e5 = orders.event(tx, order_id, "cancelled", actor) end
    if ok then
      ok, e5 = outbox.append(tx, { { aggregate = "order:" .. order_id, type = "order.cancelled",
        payload = { order_id = order_id } } })
    end
    if ok then ok, e5 = inventory.take_back(tx, now.cart_id, order_id, actor) end
    if not ok then return nil, e5 end
    return orders.get(order_id, tx)
  end)
end


function order_flow.cancel(order_id, actor, transaction)
  return order_flow.alone(order_id, function() return cancel(order_id, actor, transaction) end)
end


return order_flow
