-- till/store/locations - the places where stock is.
--
--   list() -> rows { id, code, name, priority, enabled, on_hand, reserved }   by priority
--   get(code [, tx]) -> row | false | nil, err
--   create(tx, { code, name, priority, enabled }) -> true | nil, err(conflict)
--   update(tx, code, { name, priority, enabled }) -> does what can be sold differ now? | nil, err
--   remove(tx, code) -> true | nil, err(conflict: it has stock, units that are held, or a past)
--   variants(code, after, limit) -> public ids of what has stock there, in order
--
-- Nothing is taken from a place that is shut (enabled = false); what is held there stays held and
-- can be sold. Whatever changes what can be sold makes the versions of its stock higher: readers
-- that go by versions see it.
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local locations = {}

local SELECT = "SELECT l.id, l.code, l.name, l.priority, l.enabled, l.created_at,"
  .. " CAST(COALESCE(SUM(s.on_hand), 0) AS SIGNED) AS on_hand,"
  .. " CAST(COALESCE(SUM(s.reserved), 0) AS SIGNED) AS reserved"
  .. " FROM locations l LEFT JOIN stock s ON s.location_id = l.id"


local function to_location(row)
  row.id, row.enabled = id.text("loc", row.id), row.enabled == 1
  return row
end


function locations.list()
  local rows, e = sql.query(SELECT .. " GROUP BY l.id ORDER BY l.priority, l.code")
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_location(row) end
  return rows
end


function locations.get(code, tx)
  local row, e = db.on(tx):one(SELECT .. " WHERE l.code = ? GROUP BY l.id", code)
  if not row then return row, e end
  return to_location(row)
end


function locations.create(tx, given)
  local done, e = tx:exec("INSERT IGNORE INTO locations (id, code, name, priority, enabled)"
    .. " VALUES (?, ?, ?, ?, ?)", db.bin("loc", id.new("loc")), given.code, given.name,
    given.priority or 100, given.enabled ~= false)
  if not done then return nil, e end
  if done.affected == 0 then
    return nil, err.new("conflict", "there is a location " .. given.code .. " already")
  end
  return true
end


-- All of them in one order: two who shut the last two wait for each other.
local function lock(tx, code)
  local rows, e = tx:query("SELECT id, code, name, priority, enabled FROM locations"
    .. " ORDER BY code FOR UPDATE")
  if not rows then return nil, e end
  local found, others = false, 0
  for _, row in ipairs(rows) do
    if row.code == code then found = row
    else others = others + row.enabled end
  end
  if not found then return nil, err.new("not_found", "there is no location " .. code) end
  return found, others
end


function locations.update(tx, code, given)
  local row, others = lock(tx, code)
  if not row then return nil, others end
  local enabled = row.enabled == 1
  if given.enabled ~= nil then enabled = given.enabled end
  if not enabled and others == 0 then
    return nil, err.new("conflict", "it is the last location that is open: open another one first")
  end
  local ok, e = tx:exec("UPDATE locations SET name = ?, priority = ?, enabled = ? WHERE id = ?",
    given.name or row.name, given.priority or row.priority, enabled, sql.bytes(row.id))
  if not ok then return nil, e end
  if enabled == (row.enabled == 1) then return false end
  ok, e = tx:exec("UPDATE stock SET version = version + 1 WHERE location_id = ?"
    .. " ORDER BY variant_id", sql.bytes(row.id))
  if not ok then return nil, e end
  return true
end


-- The log speaks of it for good: what was ever there can be asked for at any time.
local function is_used(tx, row)
  local bin = sql.bytes(row.id)
  return tx:one("SELECT EXISTS (SELECT 1 FROM stock WHERE location_id = ?"
    .. " AND (on_hand <> 0 OR reserved <> 0)) AS has_stock,"
    .. " EXISTS (SELECT 1 FROM stock s JOIN stock_events e ON e.variant_id = s.variant_id"
    .. " AND e.location_id = s.location_id WHERE s.location_id = ?) AS has_past", bin, bin)
end


function locations.remove(tx, code)
  local row, others = lock(tx, code)
  if not row then return nil, others end
  if code == "main" then
    return nil, err.new("conflict", "main is always there: shut it instead")
  end
  local used, e = is_used(tx, row)
  if not used then return nil, e end
  if used.has_stock == 1 then
    return nil, err.new("conflict", "there is stock in it, or held units: move it, or shut the"
      .. " location")
  elseif used.has_past == 1 then
    return nil, err.new("conflict", "the log of stock speaks of it: shut it instead")
  end
  local ok, e2 = tx:exec("DELETE FROM stock WHERE location_id = ?", sql.bytes(row.id))
  if ok then ok, e2 = tx:exec("DELETE FROM locations WHERE id = ?", sql.bytes(row.id)) end
  if not ok then return nil, e2 end
  return true
end


--- Public ids of variants with stock there, in order; `after` is the last one of before, or nil.
function locations.variants(code, after, limit)
  local rows, e = sql.query("SELECT s.variant_id FROM stock s JOIN locations l"
    .. " ON l.id = s.location_id WHERE l.code = ? AND s.variant_id > ? ORDER BY s.variant_id"
    .. " LIMIT ?", code, after and db.bin("var", after) or sql.bytes(""), limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = id.text("var", row.variant_id) end
  return rows
end


return locations
