-- till/flow/low_stock - tells when there is little of what has a threshold: stock.low.
--
--   changed(variant_ids)   after `stock.changed`: is it few units by now? -> true | nil, err
--   step(after)            some of all that have one, also by their rate of sale
--                          -> where to go on, "" after the last | nil, err; and the error of one
--                          that could not be judged: the others were
--
-- Low: as many units as low_at or fewer, or fewer than are sold in cover_days at the rate of the
-- last RATE_DAYS. It ends with a fifth more than that, so that one order more or less tells nobody
-- twice. Only step ends it: it alone looks at both; after the last one those without a threshold.
local alert_ends = require "till.flow.alert_ends"
local alerts = require "till.store.alerts"
local id = require "till.util.id"
local lru = require "till.util.lru"
local sql = require "till.prim.sql"
local thresholds = require "till.store.thresholds"
local time = require "till.prim.time"

local low_stock = {}

local KIND = "stock.low"
local RATE_DAYS = 7
local MARGIN = 1.2
local STEP = 100

-- A rate that takes long to add up is asked for again after a hundred times as long.
local LONG_MS, PAUSE, KNOWN = 50, 100, 1000
local known_rates = lru.new(KNOWN)


-- How many units are few. @return the larger limit, or nil where neither is given
local function limit_of(row, sold)
  local by_rate = row.cover_days and sold and sold > 0 and sold / RATE_DAYS * row.cover_days
  local at = row.low_at
  if by_rate and (not at or by_rate > at) then return by_rate, "cover_days" end
  return at, "low_at"
end


local function raise(row, sold, why)
  local subject = id.text("var", row.variant_id)
  local known, e = alerts.of(KIND, subject)
  if known == nil then return nil, e end
  if known and known.state == "open" and known.level == row.available then return true end
  local detail = { sku = row.sku, available = row.available, why = why, low_at = row.low_at,
    cover_days = row.cover_days, sold = sold, sold_days = sold and RATE_DAYS }
  return sql.transaction(function(tx)
    local opened, e2 = alerts.raise(tx, KIND, subject, { level = row.available, detail = detail })
    if opened == nil then return nil, e2 end
    return true
  end)
end


function low_stock.changed(variant_ids)
  local variants = {}
  for i, variant_id in ipairs(variant_ids) do variants[i] = id.bin("var", variant_id) end
  local rows, e = thresholds.levels(variants)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    if row.low_at and row.available <= row.low_at then
      local ok, e2 = raise(row, nil, "low_at")
      if not ok then return nil, e2 end
    end
  end
  return true
end


local function sold_lately(variant)
  local began = time.mono_ms()
  local sold = known_rates:get(variant, began)
  if sold then return sold end
  local units, e = thresholds.sold(variant, RATE_DAYS)
  if not units then return nil, e end
  local now = time.mono_ms()
  if now - began > LONG_MS then known_rates:set(variant, units, now + PAUSE * (now - began)) end
  return units
end


local function judge(row)
  local sold, e
  if row.cover_days then
    sold, e = sold_lately(row.variant_id)
    if not sold then return nil, e end
  end
  local limit, why = limit_of(row, sold)
  if limit and (row.available < limit or why == "low_at" and row.available == limit) then
    return raise(row, sold, why)
  end
  if limit and row.available <= limit * MARGIN then return true end
  local closed, e2 = alerts.close(KIND, id.text("var", row.variant_id))
  if closed == nil then return nil, e2 end
  return true
end


function low_stock.step(after)
  local variants, e = thresholds.after(after, STEP)
  if not variants then return nil, e end
  local rows, e2 = thresholds.levels(variants)
  if not rows then return nil, e2 end
  local failed
  for _, row in ipairs(rows) do
    local ok, e3 = judge(row)
    if not ok then failed = failed or e3 end
  end
  if variants[STEP] then return variants[STEP], failed end
  local ended, e4 = alert_ends.close(KIND, "subject", thresholds.without)
  return "", failed or not ended and e4 or nil
end


return low_stock
