-- till/flow/refunds - money that goes back while the shopper keeps the goods, and who agrees to it.
--
--   create(order_id, wish, by, transaction, respond) -> what transaction returned | nil, err
--       wish { lines = { { line_id, quantity } } | shipping = true | amount = minor units with
--       currency, reason, request }; by { actor, limit, request_id }, limit as
--       till.http.refund_limits; respond(refund) makes the answer, in the transaction that ends it
--   approve(id, by, transaction, respond), reject(tx, id, by) -> refund | nil, err
--   expire()      requests that nobody answered
--
-- A refund within the limit of who asks is decided, paid and booked as a cancellation is, by the
-- saga of till.flow.cancellation_flow; its row of `cancellations` has its id. One above it is only
-- written down, `requested`; it moves nothing and reserves nothing. Another person with a
-- sufficient limit approves it, and then it is worked out again: where it would be another amount
-- by now it is refused, for nobody agreed to that. All of it under the lock of the order, so of two
-- who decide at once one is told that it was decided.
local audit = require "till.store.audit"
local decision = require "till.flow.cancellation_decision"
local err = require "till.util.err"
local figures = require "till.flow.cancellation_figures"
local id = require "till.util.id"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local states = require "till.flow.order_states"
local store = require "till.store.refunds"
local time = require "till.prim.time"

local refunds = {}

local LIFE_MS = 7 * 86400000
local MOST = 1000


local function refuse(order, pointer, why, code)
  return states.refuse(order, why, { errors = { { pointer = pointer, detail = why,
    code = code or "range" } } })
end


-- Units whose money is still here; where they are does not matter.
local function units_of(order, wish, tx)
  local gone, e = figures.units_gone(order, tx)
  if not gone then return nil, e end
  local lines, out = {}, {}
  for _, line in ipairs(order.lines) do lines[line.id] = line end
  for i, item in ipairs(wish.lines or {}) do
    local pointer, line = ("/lines/%d"):format(i - 1), lines[item.line_id]
    if not line then return refuse(order, pointer, "the order has no such line", "unknown") end
    local n = (out[line.id] or 0) + item.quantity
    local left = line.quantity - (gone[line.id] or 0)
    if n > left then
      return refuse(order, pointer, ("the money of only %d of this line is left"):format(left))
    end
    out[line.id] = n
  end
  return out
end


local function lines_of(order, units)
  local out = {}
  for _, line in ipairs(order.lines) do
    if units[line.id] then out[#out + 1] = { line_id = line.id, quantity = units[line.id] } end
  end
  return out
end


-- What was never paid is owed no more, and does not go back.
local function goes_back(c)
  return c.amount - c.unpaid
end


-- `left`: what was captured and neither went back nor is on its way.
local function check(order, wish, c, left)
  if not left then
    return states.refuse(order, "nothing of it was captured, so nothing can be refunded")
  end
  if wish.amount and wish.currency and wish.currency ~= order.currency then
    return nil, err.new("invalid_request", "the order was paid in " .. order.currency,
      { errors = { { pointer = "/amount/currency", detail = "the order was paid in "
        .. order.currency, code = "currency" } } })
  end
  if wish.amount and wish.amount > left then
    return refuse(order, "/amount/amount", ("only %d of what was captured is left"):format(left))
  end
  if goes_back(c) == 0 then
    return states.refuse(order, "nothing is left to be refunded of that")
  end
  if wish.agreed and wish.agreed ~= goes_back(c) then
    return states.refuse(order, ("it would be %d by now and not %d; reject it, and ask anew")
      :format(goes_back(c), wish.agreed))
  end
  return true
end


local function gate(tx, order, wish, c, left)
  local ok, e = check(order, wish, c, left)
  if not ok then return nil, e end
  local over, limit = decision.over_limit(tx, order.id, wish, c)
  if over == nil then return nil, limit end
  if not over then return true end
  return nil, err.new("forbidden", ("%d is more than is left of your limit of %d for an order")
    :format(goes_back(c), limit),
    { over_limit = { amount = goes_back(c), currency = c.currency } })
end


local function decided()
  return nil, err.new("conflict", "the request was decided already, or its time is over")
end


-- In the decision, before its row: of the same id.
local function count(tx, order, c, wish)
  local state = c.state == "done" and "done" or "pending"
  if not wish.refund_id then
    c.id = id.new("rfnd")
    return store.create(tx, { id = c.id, order_id = order.id, request = wish.request,
      state = state, wish = wish.asked, currency = c.currency, amount = goes_back(c),
      reason = wish.reason, actor = c.actor })
  end
  c.id = wish.refund_id
  local first, e = store.decide(tx, c.id, state, c.actor, wish.answer)
  if first == nil then return nil, e end
  if not first then return decided() end
  return true
end


local function note(tx, action, order_id, r, by)
  local ok, e = orders.event(tx, order_id, "refund_" .. action, by.actor, { refund_id = r.id,
    amount = r.amount, reason = r.reason })
  if not ok then return nil, e end
  return audit.add({ actor = by.actor, action = "refund." .. action, subject = r.id,
    detail = { order_id = order_id, amount = r.amount, currency = r.currency, reason = r.reason },
    request_id = by.request_id }, tx)
end


local function tell(tx, order, c, wish)
  return note(tx, wish.refund_id and "approved" or "created", order.id, c,
    { actor = c.actor, request_id = wish.request_id })
end


local function nothing() return true end
local function none() return {} end
local function never() return false end


local KIND = { name = "refund", units = units_of, is_whole = never, lines = lines_of, gate = gate,
  with_shipping = function(wish) return wish.shipping == true end, count = count, moves = none,
  tell = tell, stock = nothing,
  without_trace = function(order)
    return states.refuse(order, "it has no price trace; refund an amount")
  end }


local function answer_of(respond)
  return function(_, c, tx)
    local r, e = store.get(c.id, tx)
    if not r then return nil, e or err.new("internal", "the refund is not there") end
    return respond(r)
  end
end


local function request(order_id, wish, by, amount, transaction, respond)
  return transaction(function(tx)
    local order, e = order_flow.locked(tx, order_id)
    if not order then return nil, e end
    local known, e2 = store.by_request(order_id, wish.request, tx)
    if known == nil then return nil, e2 end
    if known then return respond(known) end
    local r = { id = id.new("rfnd"), order_id = order_id, request = wish.request,
      state = "requested", wish = wish.asked, currency = order.currency, amount = amount,
      reason = wish.reason, actor = by.actor, expires_ms = time.now_ms() + LIFE_MS }
    local ok, e3 = store.create(tx, r)
    if ok then ok, e3 = note(tx, "requested", order_id, r, by) end
    if not ok then return nil, e3 end
    local written, e4 = store.get(r.id, tx)
    if not written then return nil, e4 end
    return respond(written)
  end)
end


function refunds.create(order_id, wish, by, transaction, respond)
  local given = (wish.lines and 1 or 0) + (wish.shipping and 1 or 0) + (wish.amount and 1 or 0)
  if given ~= 1 then
    return nil, err.new("invalid_request", "say one of lines, shipping and amount",
      { errors = { { pointer = "", detail = "say one of lines, shipping and amount",
        code = "one_of" } } })
  end
  wish.limit, wish.request_id = by.limit, by.request_id
  wish.asked = { lines = wish.lines, shipping = wish.shipping or nil, amount = wish.amount,
    currency = wish.currency }
  local done, e = decision.run(KIND, order_id, wish, by.actor, transaction, answer_of(respond))
  if done or not e.over_limit then return done, e end
  return request(order_id, wish, by, e.over_limit.amount, transaction, respond)
end


local function missing() return nil, err.new("not_found", "there is no such refund") end


-- -> refund, as it may be decided by him | nil, err
local function for_decision(refund_id, by, tx)
  local r, e = store.get(refund_id, tx)
  if r == nil then return nil, e end
  if not r then return missing() end
  if r.requested_by == by.actor then
    return nil, err.new("forbidden", "nobody decides on a refund that he asked for himself")
  end
  return r
end


function refunds.approve(refund_id, by, transaction, respond)
  local r, e = for_decision(refund_id, by)
  if not r then return nil, e end
  if r.state ~= "requested" and r.decided_by ~= by.actor or r.state == "rejected" then
    return decided()
  end
  local wish = { lines = r.wish.lines, shipping = r.wish.shipping, amount = r.wish.amount,
    currency = r.wish.currency, reason = r.reason, request = "approve:" .. refund_id,
    refund_id = refund_id, agreed = r.amount, limit = by.limit, answer = by.answer,
    request_id = by.request_id, asked = r.wish }
  return decision.run(KIND, r.order_id, wish, by.actor, transaction, function(_, c, tx)
    local now, e2 = store.get(c.id, tx)
    if not now then return nil, e2 end
    if now.decided_by ~= by.actor then return decided() end
    return respond(now)
  end)
end


function refunds.reject(tx, refund_id, by)
  local r, e = for_decision(refund_id, by, tx)
  if not r then return nil, e end
  local order, e2 = order_flow.locked(tx, r.order_id)
  if not order then return nil, e2 end
  local first, e3 = store.decide(tx, refund_id, "rejected", by.actor, by.answer)
  if first == nil then return nil, e3 end
  if not first then return decided() end
  local ok, e4 = note(tx, "rejected", r.order_id, r, by)
  if not ok then return nil, e4 end
  return store.get(refund_id, tx)
end


function refunds.expire()
  return store.expire(MOST)
end


return refunds
