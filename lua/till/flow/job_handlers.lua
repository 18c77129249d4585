-- till/flow/job_handlers - what the server itself does with an event, by its type.
--
--   job_handlers.one[type] = fn(payload, event) -> true | nil, err        it comes again
--   job_handlers.together[type] = fn(payloads) -> true | nil, err
--
-- `together` is for what one statement does for many. Each such type is in `one` as well: where
-- doing them together failed they come one by one.
local cache = require "till.cache"
local capture_alerts = require "till.flow.capture_alerts"
local capture_queue = require "till.flow.capture_queue"
local captures = require "till.flow.captures"
local catalog = require "till.flow.catalog"
local err = require "till.util.err"
local late_payment = require "till.flow.late_payment"
local locations = require "till.store.locations"
local log = require "till.prim.log"
local low_stock = require "till.flow.low_stock"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local payment_request = require "till.flow.payment_request"
local payments = require "till.store.payments"
local saved_methods = require "till.flow.saved_methods"
local schedules = require "till.flow.schedules"
local search = require "till.flow.search"
local search_store = require "till.store.search"
local settlement = require "till.flow.settlement"
local sql = require "till.prim.sql"
local stock_view = require "till.flow.stock_view"


local SOME = 500 -- variants: a statement takes 2000 parameters


-- Staff may have captured a part before this came: the rest is captured as well.
local function capture_all(payment_id)
  local p, e = order_flow.capture(payment_id, "system")
  if not p or payments.left(p) == 0 then return p, e end
  return captures.take(payment_id, { request = "placed:rest" }, "system")
end


-- The goods may go all the same: staff see to what was not captured, where it still may be.
local function refused(payload, e)
  return sql.transaction(function(tx)
    local ok, e2 = orders.event(tx, payload.order_id, "capture_refused", "system",
      { payment_id = payload.payment_id, reason = e.message })
    if not ok then return nil, e2 end
    local p, e3 = payments.get(payload.payment_id, tx)
    if p == nil then return nil, e3 end
    local left = p and payments.left(p) or 0
    if left == 0 then return true end
    return capture_alerts.refused(tx, p, left, e.message)
  end)
end


-- A refusal of the provider is final.
local function capture(payload)
  local fn = payload.goes_on and order_flow.go_on or capture_all
  local done, e = fn(payload.payment_id)
  if done ~= nil then return true end
  if not err.is(e, "payment_declined") and not err.is(e, "conflict") then return nil, e end
  log.warn("capture.refused", { payment_id = payload.payment_id, error = tostring(e) })
  return refused(payload, e)
end


local function product_updated(payload)
  cache.invalidate("product", { payload.product_id })
  local done, e = search.index({ payload.product_id })
  if done then catalog.forget_found() end
  return done, e
end


local function orders_placed(payloads)
  local ids = {}
  for i, payload in ipairs(payloads) do ids[i] = payload.order_id or "" end
  return search_store.bought(ids)
end


-- Many changes of one hot SKU are one look into the tables.
local function stock_changed(payloads)
  local ids, seen = {}, {}
  for _, payload in ipairs(payloads) do
    for _, variant_id in ipairs(payload.variant_ids or {}) do
      if not seen[variant_id] then
        seen[variant_id] = true
        ids[#ids + 1] = variant_id
      end
    end
  end
  for from = 1, #ids, SOME do
    local some = { unpack(ids, from, math.min(#ids, from + SOME - 1)) }
    local ok, e = stock_view.refresh(some)
    if ok then ok, e = low_stock.changed(some) end
    if not ok then return nil, e end
  end
  return true
end


-- All that has stock at a place: its versions grew when the place was opened or shut.
local function location_changed(payload)
  local after
  repeat
    local ids, e = locations.variants(payload.location, after, SOME)
    if not ids then return nil, e end
    local ok, e2 = stock_view.refresh(ids)
    if not ok then return nil, e2 end
    after = ids[SOME]
  until not after
  catalog.moved_all()
  return true
end


return {
  one = {
    ["job.run"] = schedules.run,
    ["location.changed"] = location_changed,
    ["order.placed"] = function(payload) return orders_placed { payload } end,
    ["payment.capture"] = capture,
    ["payment.capture_part"] = capture_queue.work,
    ["payment.forget"] = saved_methods.forget,
    ["payment.release"] = capture_queue.release,
    ["payment.replaced"] = payment_request.go_on,
    ["payment.settlement"] = settlement.job,
    ["payment.too_late"] = late_payment.let_go,
    ["product.updated"] = product_updated,
    ["stock.changed"] = function(payload) return stock_changed { payload } end,
  },
  together = {
    ["order.placed"] = orders_placed,
    ["stock.changed"] = stock_changed,
  },
}
