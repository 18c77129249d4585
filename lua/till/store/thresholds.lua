-- till/store/thresholds - how little stock of a SKU is little, and of which there is.
--
--   set(tx, variant, { low_at =, cover_days = }) -> true | nil, err    both absent: none any more
--   get(variant [, tx]) -> { low_at, cover_days } | false | nil, err   variant: 16 bytes
--   levels(variants) -> rows { variant_id, sku, low_at, cover_days, available } of those that have
--                       a threshold | nil, err; variants: 16 bytes each
--   after(variant, limit) -> variants that have one, in order
--   without(variant_ids) -> { variant id = true } of those that have none | nil, err
--   sold(variant, days) -> units that were sold within so many days, by the log
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock_sums = require "till.store.stock_sums"
local time = require "till.prim.time"

local thresholds = {}


function thresholds.set(tx, variant, given)
  local low_at, cover_days = db.given(given.low_at), db.given(given.cover_days)
  if not low_at and not cover_days then
    return tx:exec("DELETE FROM stock_thresholds WHERE variant_id = ?", sql.bytes(variant))
  end
  return tx:exec("INSERT INTO stock_thresholds (variant_id, low_at, cover_days) VALUES (?, ?, ?)"
    .. " ON DUPLICATE KEY UPDATE low_at = VALUES(low_at), cover_days = VALUES(cover_days)",
    sql.bytes(variant), low_at or sql.null, cover_days or sql.null)
end


function thresholds.get(variant, tx)
  return db.on(tx):one("SELECT low_at, cover_days FROM stock_thresholds WHERE variant_id = ?",
    sql.bytes(variant))
end


local function bytes_of(variants)
  local out = {}
  for i, variant in ipairs(variants) do out[i] = sql.bytes(variant) end
  return db.padded(out)
end


function thresholds.levels(variants)
  if #variants == 0 then return {} end
  local bins = bytes_of(variants)
  return sql.query("SELECT t.variant_id, v.sku, t.low_at, t.cover_days,"
    .. " CAST(COALESCE(SUM(IF(l.enabled, s.on_hand - s.reserved, 0)), 0) AS SIGNED) AS available"
    .. " FROM stock_thresholds t JOIN variants v ON v.id = t.variant_id"
    .. " LEFT JOIN stock s ON s.variant_id = t.variant_id LEFT JOIN locations l"
    .. " ON l.id = s.location_id WHERE t.variant_id IN (" .. sql.marks(#bins) .. ")"
    .. " GROUP BY t.variant_id", unpack(bins))
end


function thresholds.after(variant, limit)
  local rows, e = sql.query("SELECT variant_id FROM stock_thresholds WHERE variant_id > ?"
    .. " ORDER BY variant_id LIMIT ?", sql.bytes(variant), limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = row.variant_id end
  return rows
end


function thresholds.without(variant_ids)
  if #variant_ids == 0 then return {} end
  local out, bins = {}, {}
  for i, variant_id in ipairs(variant_ids) do
    out[variant_id], bins[i] = true, db.bin("var", variant_id)
  end
  db.padded(bins)
  local rows, e = sql.query("SELECT variant_id FROM stock_thresholds WHERE variant_id IN ("
    .. sql.marks(#bins) .. ")", unpack(bins))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do out[id.text("var", row.variant_id)] = nil end
  return out
end


local DAY_MS, AHEAD_MS = 86400000, 60000 -- the clock of another server


--- In steps that end in time, however much of it is sold. What was sold before it was there counts
-- when it is allotted.
function thresholds.sold(variant, days)
  local places, e = sql.query("SELECT variant_id, location_id FROM stock WHERE variant_id = ?",
    sql.bytes(variant))
  if not places then return nil, e end
  local now, units = time.now_ms(), 0
  for _, place in ipairs(places) do
    local sum, e2 = stock_sums.add(place, now - days * DAY_MS, now + AHEAD_MS, nil,
      "(type IN ('sold', 'allotted') OR type = ?)", "returned")
    if not sum then return nil, e2 end
    units = units - sum.on_hand
  end
  return math.max(0, units)
end


return thresholds
