-- till/store/restock - goods that were sent come back into stock.
--
--   plan(tx, order, line, n, code) -> { { variant_id, location, quantity }, … } | nil, err
--                     where n units of a line go: of a bundle its parts; to the location of that
--                     code, else to the one that most of them were sold from
--   put(tx, rows, event) -> true | nil, err    last in its transaction; rows as planned, of any
--                     number of lines; event { reference, reason, actor } of till.store.stock_log
--
-- Reservations stay sold: they say what left the house. Who waits for such units gets them by the
-- job, within a second or so.
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local units = require "till.store.units"

local restock = {}

local MAIN = "main"


-- What one unit of the line was, and where most of it came from.
local function sold_as(tx, order, line)
  local rows, e = tx:query("SELECT r.variant_id, r.per_unit, l.code, SUM(r.quantity) AS n"
    .. " FROM reservations r JOIN locations l ON l.id = r.location_id WHERE r.cart_id = ?"
    .. " AND r.state = 'sold' AND COALESCE(r.bundle_id, r.variant_id) = ?"
    .. " GROUP BY r.variant_id, r.per_unit, l.code ORDER BY r.variant_id, n DESC, l.code",
    db.bin("cart", order.cart_id), db.bin("var", line.variant_id))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do
    local last = out[#out]
    if not last or last.variant_id ~= row.variant_id then out[#out + 1] = row end
  end
  if #out > 0 then return out end
  -- An imported order reserved nothing here.
  return { { variant_id = id.bin("var", line.variant_id), per_unit = 1, code = MAIN } }
end


local function check(tx, variant, code)
  local there, e = tx:one("SELECT 1 AS yes FROM locations WHERE code = ?", code)
  if there == nil then return nil, e end
  if not there then return nil, err.new("not_found", "there is no location " .. code) end
  local bundle, e2 = tx:one("SELECT 1 AS yes FROM bundle_parts WHERE bundle_id = ? LIMIT 1",
    sql.bytes(variant))
  if bundle == nil then return nil, e2 end
  if not bundle then return true end
  return nil, err.new("conflict", "a bundle has no stock of its own, and what it was made of is not"
    .. " known: record it with restock false, and count its parts")
end


function restock.plan(tx, order, line, n, code)
  if not line.variant_id then
    return nil, err.new("conflict", line.sku .. " is gone from the catalogue: record it with"
      .. " restock false")
  end
  local rows, e = sold_as(tx, order, line)
  if not rows then return nil, e end
  local out = {}
  for i, row in ipairs(rows) do
    local location = code or row.code
    local ok, e2 = check(tx, row.variant_id, location)
    if not ok then return nil, e2 end
    out[i] = { variant_id = id.text("var", row.variant_id), location = location,
      quantity = n * row.per_unit }
  end
  return out
end


local function located(tx, rows)
  local out = {}
  for i, row in ipairs(rows) do
    local location, e = tx:one("SELECT id FROM locations WHERE code = ?", row.location)
    if not location then
      return nil, e or err.new("conflict", "the location " .. row.location .. " is gone")
    end
    out[i] = { variant_id = id.bin("var", row.variant_id), location_id = location.id,
      quantity = row.quantity }
  end
  return units.merged(out)
end


function restock.put(tx, rows, event)
  if #rows == 0 then return true end
  local places, e = located(tx, rows)
  if not places then return nil, e end
  local events = {}
  for i, row in ipairs(places) do
    events[i] = { variant = row.variant_id, location = row.location_id, type = "returned",
      quantity = row.quantity, on_hand = row.quantity, reference = event.reference,
      reason = event.reason, actor = event.actor }
  end
  local ok, e2 = stock_log.add(tx, events)
  for _, row in ipairs(places) do
    if ok then
      ok, e2 = tx:exec("INSERT INTO stock (variant_id, location_id, on_hand) VALUES (?, ?, ?)"
        .. " ON DUPLICATE KEY UPDATE on_hand = on_hand + VALUES(on_hand), version = version + 1",
        sql.bytes(row.variant_id), sql.bytes(row.location_id), row.quantity)
    end
  end
  if not ok then return nil, e2 end
  return true
end


return restock
