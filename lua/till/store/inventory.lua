-- till/store/inventory - stock as staff see it: by SKU, at places, at a time, with its adjustments.
--
--   get(sku [, as_of])  -> { sku, variant_id, on_hand, reserved, available, version, locations }
--                          | false | nil, err
--   adjust(tx, change)  change { sku, location, delta | set_to, expected_quantity, reason, actor }
--                       -> { variant_id, location, before, on_hand, reserved } | nil, err
local allotment = require "till.store.allotment"
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock = require "till.store.stock"

local inventory = {}


local function variant_of(conn, sku)
  return conn:one("SELECT v.id, EXISTS (SELECT 1 FROM bundle_parts p WHERE p.bundle_id = v.id)"
    .. " AS is_bundle FROM variants v WHERE v.sku = ?", sku)
end


local function sum_up(out, rows)
  out.on_hand, out.reserved, out.version, out.locations = 0, 0, 0, {}
  for i, row in ipairs(rows) do
    out.on_hand, out.reserved = out.on_hand + row.on_hand, out.reserved + row.reserved
    out.version = out.version + (row.version or 0)
    out.locations[i] = { location = row.code, on_hand = row.on_hand, reserved = row.reserved,
      available = row.on_hand - row.reserved }
  end
  out.available = out.on_hand - out.reserved
  return out
end


-- The past is the sum of the log; the present is its projection.
local function past(conn, variant_bin, as_of)
  return conn:query("SELECT l.code, CAST(SUM(e.on_hand_delta) AS SIGNED) AS on_hand,"
    .. " CAST(SUM(e.reserved_delta) AS SIGNED) AS reserved FROM stock_events e JOIN locations l"
    .. " ON l.id = e.location_id WHERE e.variant_id = ? AND e.at <= ? GROUP BY l.code"
    .. " ORDER BY l.code", variant_bin, db.at(as_of))
end


function inventory.get(sku, as_of, tx)
  local conn = db.on(tx)
  local variant, e = variant_of(conn, sku)
  if not variant then return variant, e end
  local bin = sql.bytes(variant.id)
  local rows
  if as_of then
    rows, e = past(conn, bin, as_of)
  else
    rows, e = conn:query("SELECT l.code, s.on_hand, s.reserved, s.version FROM stock s"
      .. " JOIN locations l ON l.id = s.location_id WHERE s.variant_id = ?"
      .. " ORDER BY l.priority, l.code", bin)
  end
  if not rows then return nil, e end
  return sum_up({ sku = sku, variant_id = id.text("var", variant.id), as_of = as_of }, rows)
end


local function lock_row(tx, variant_bin, location_bin)
  local ok, e = tx:exec("INSERT IGNORE INTO stock (variant_id, location_id) VALUES (?, ?)",
    variant_bin, location_bin)
  if not ok then return nil, e end
  return tx:one("SELECT on_hand, reserved FROM stock WHERE variant_id = ? AND location_id = ?"
    .. " FOR UPDATE", variant_bin, location_bin)
end


local function check(row, change)
  if change.expected_quantity and change.expected_quantity ~= row.on_hand then
    return nil, err.new("precondition_failed", ("there are %d, not %d; look again and decide")
      :format(row.on_hand, change.expected_quantity))
  end
  local wanted = change.set_to or row.on_hand + change.delta
  if wanted < row.reserved then
    return nil, err.new("conflict", ("%d are held for shoppers: there cannot be %d")
      :format(row.reserved, wanted))
  end
  return wanted
end


local function places(tx, change)
  local variant, e = variant_of(tx, change.sku)
  if variant == false then
    return nil, err.new("not_found", "there is no variant with the SKU " .. change.sku)
  end
  if not variant then return nil, e end
  if variant.is_bundle == 1 then
    return nil, err.new("conflict", change.sku .. " is a bundle: its stock is that of its parts")
  end
  local location, e2 = tx:one("SELECT id FROM locations WHERE code = ?", change.location or "main")
  if location == false then
    return nil, err.new("not_found", "there is no location " .. change.location)
  end
  if not location then return nil, e2 end
  return variant.id, location.id
end


function inventory.adjust(tx, change)
  local variant, location = places(tx, change)
  if not variant then return nil, location end
  local vbin, lbin = sql.bytes(variant), sql.bytes(location)
  local row, e = lock_row(tx, vbin, lbin)
  if not row then return nil, e end
  local wanted, why = check(row, change)
  if not wanted then return nil, why end
  local delta = wanted - row.on_hand
  local ok, e2 = tx:exec("UPDATE stock SET on_hand = ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ?", wanted, vbin, lbin)
  if ok then
    ok, e2 = stock.log_event(tx, { variant = variant, location = location,
      type = change.type or "adjusted", quantity = delta, on_hand = delta,
      reason = change.reason, actor = change.actor, reference = change.reference })
  end
  if ok and delta > 0 then ok, e2 = allotment.allot(tx, variant, location) end
  if not ok then return nil, e2 end
  return { variant_id = id.text("var", variant), location = change.location or "main",
    before = row.on_hand, on_hand = wanted, reserved = row.reserved }
end


return inventory
