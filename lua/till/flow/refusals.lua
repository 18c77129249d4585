-- till/flow/refusals - shoppers who wanted more than there was: stock.oversell_attempt.
--
--   note(failure, cart_id)   where it is `sold_out`: counted here, told in the background
--   flush() -> true | nil, err
--
-- A sale of a hot SKU refuses thousands in a second: each worker adds them up for WINDOW_MS and
-- writes one row a SKU, with the last of them as a sample. A worker that dies loses its last
-- window: these are numbers for people.
local alerts = require "till.store.alerts"
local co = require "till.prim.co"
local err = require "till.util.err"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local products = require "till.store.products"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local refusals = {}

local KIND = "stock.oversell_attempt"
local WINDOW_MS = 1000
local MOST_SKUS = 200

local noted, n_noted = {}, 0


local function write(noted_now)
  local skus = {}
  for sku in pairs(noted_now) do skus[#skus + 1] = sku end
  table.sort(skus)
  local ids, e = products.ids_of_skus(skus)
  if not ids then return nil, e end
  return sql.transaction(function(tx)
    for _, sku in ipairs(skus) do
      if ids[sku] then
        local of = noted_now[sku]
        local opened, e2 = alerts.raise(tx, KIND, ids[sku], { times = of.times,
          level = of.available, detail = { sku = sku, available = of.available, times = of.times,
            sample = { cart_id = of.cart_id } } })
        if opened == nil then return nil, e2 end
      end
    end
    return true
  end)
end


function refusals.flush()
  if n_noted == 0 then return true end
  local noted_now = noted
  noted, n_noted = {}, 0
  return write(noted_now)
end


local function flush_later()
  time.sleep(WINDOW_MS)
  local ok, e = refusals.flush()
  if not ok then log.warn("stock.refusals", { error = tostring(e) }) end
end


function refusals.note(failure, cart_id)
  if not err.is(failure, "sold_out") or not failure.sku then return end
  metrics.add("till_stock_refused_total", nil, 1)
  local known = noted[failure.sku]
  if not known then
    if n_noted == MOST_SKUS then return end
    known = { times = 0 }
    noted[failure.sku], n_noted = known, n_noted + 1
    if n_noted == 1 then co.spawn(flush_later) end
  end
  known.times, known.available, known.cart_id = known.times + 1, failure.available or 0, cart_id
end


return refusals
