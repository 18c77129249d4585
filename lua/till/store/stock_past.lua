-- till/store/stock_past - the log of stock, read: what there was at a time, and what happened.
--
--   variant(sku [, tx]) -> 16 bytes, is it a bundle? | false | nil, err
--   as_of(variant, time, location [, tx]) -> rows { code, on_hand, reserved } | nil, err
--   on_hand_at(tx, at, moment)      units at { vbin, lbin }, moment { taken_at | event_id }
--   is_known(moment [, tx])         has the log come as far as the event that it names? | nil, err
--   counted_since(tx, at, moment)   has anybody said since how many there are? | nil, err
--   events(variant, opts) -> rows, newest first | nil, err     opts as of till.store.page; location
--
-- An event bears the time at which its transaction wrote it, a moment before the commit. Ids are
-- given at the same point: two transactions of one moment may have them in either order.
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local stock_past = {}


function stock_past.variant(sku, tx)
  local row, e = db.on(tx):one("SELECT v.id, EXISTS (SELECT 1 FROM bundle_parts p"
    .. " WHERE p.bundle_id = v.id) AS is_bundle FROM variants v WHERE v.sku = ?", sku)
  if not row then return row, e end
  return row.id, row.is_bundle == 1
end


function stock_past.as_of(variant, as_of, location, tx)
  return db.on(tx):query("SELECT l.code, l.enabled,"
    .. " CAST(SUM(e.on_hand_delta) AS SIGNED) AS on_hand,"
    .. " CAST(SUM(e.reserved_delta) AS SIGNED) AS reserved FROM stock_events e JOIN locations l"
    .. " ON l.id = e.location_id WHERE e.variant_id = ? AND e.at <= ? AND (? OR l.code = ?)"
    .. " GROUP BY l.id ORDER BY l.priority, l.code", sql.bytes(variant), db.at(as_of),
    location == nil, location or "")
end


local function bound(moment, op)
  if moment.event_id then return "id " .. op .. " ?", moment.event_id end
  return "at " .. op .. " ?", db.at(moment.taken_at)
end


function stock_past.on_hand_at(tx, at, moment)
  local condition, value = bound(moment, "<=")
  local row, e = tx:one("SELECT CAST(COALESCE(SUM(on_hand_delta), 0) AS SIGNED) AS units"
    .. " FROM stock_events WHERE variant_id = ? AND location_id = ? AND " .. condition, at.vbin,
    at.lbin, value)
  return row and row.units, e
end


function stock_past.is_known(moment, tx)
  if not moment.event_id then return true end
  local row, e = db.on(tx):one("SELECT MAX(id) AS id FROM stock_events")
  if not row then return nil, e end
  return moment.event_id <= (row.id or 0)
end


-- What a reconciliation wrote says how many there are, too.
function stock_past.counted_since(tx, at, moment)
  local condition, value = bound(moment, ">")
  local row, e = tx:one("SELECT id FROM stock_events WHERE variant_id = ? AND location_id = ? AND "
    .. condition .. " AND (type = 'counted' OR reference LIKE 'check:%') LIMIT 1", at.vbin, at.lbin,
    value)
  if row == nil then return nil, e end
  return row ~= false
end


-- ---- the list ------------------------------------------------------------------------------

local COLUMNS = "e.id, l.code AS location, e.type, e.quantity, e.on_hand_delta, e.reserved_delta,"
  .. " e.reference, e.reason, e.actor, e.at"


-- The index leads through one place in the order of time; so each is read for itself.
local function of_place(variant, place, opts)
  local where, args = { "e.variant_id = ?" }, { sql.bytes(variant) }
  if place.location_id then
    where[2], args[2] = "e.location_id = ?", sql.bytes(place.location_id)
  else
    where[2] = "e.location_id IS NULL"
  end
  return page.rows { select = COLUMNS, from = "stock_events e LEFT JOIN locations l"
    .. " ON l.id = e.location_id", where = where, args = args, key = "e.at", key_param = db.at,
    id = "e.id", opts = opts, newest_first = true }
end


local function places_of(variant, location)
  if location then
    return sql.query("SELECT id AS location_id FROM locations WHERE code = ?", location)
  end
  local places, e = sql.query("SELECT location_id FROM stock WHERE variant_id = ?",
    sql.bytes(variant))
  if places then places[#places + 1] = {} end
  return places, e
end


local function sorted(rows, newest_first)
  table.sort(rows, function(a, b)
    if a.at ~= b.at then return (a.at > b.at) == newest_first end
    return a.id ~= b.id and (a.id > b.id) == newest_first
  end)
  return rows
end


function stock_past.events(variant, opts)
  local places, e = places_of(variant, opts.location)
  if not places then return nil, e end
  local all = {}
  for _, place in ipairs(places) do
    local rows, e2 = of_place(variant, place, opts)
    if not rows then return nil, e2 end
    for _, row in ipairs(rows) do all[#all + 1] = row end
  end
  sorted(all, opts.before == nil)
  for i = #all, (opts.limit or 20) + 2, -1 do all[i] = nil end
  return all
end


return stock_past
