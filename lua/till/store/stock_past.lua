-- till/store/stock_past - the log of stock, read: what there was at a time, and what happened.
--
--   variant(sku [, tx]) -> 16 bytes, is it a bundle? | false | nil, err
--   as_of(variant, time, location [, tx]) -> rows { code, on_hand, reserved } | nil, err
--   is_known(moment [, tx])         has the log come as far as the event that it names? | nil, err
--   before(tx, at, moment) -> past  what the log says of a moment { taken_at | event_id } of a row
--                                   { variant, location, vbin, lbin }, before it is locked
--   on_hand_at(tx, at, past, row, is_locked)
--                                   units at the moment, has anybody said since how many there are?
--                                   | nil, err      row: what stock says by now, under its lock
--   events(variant, opts) -> rows, newest first | nil, err     opts as of till.store.page; location
--
-- An event bears the time at which its transaction wrote it, a moment before the commit. Ids are
-- given at the same point: two transactions of one moment may have them in either order.
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local sums = require "till.store.stock_sums"
local time = require "till.prim.time"

local stock_past = {}

local SETTLED_MS = 3600000 -- no transaction is open for so long
local RECENT_MS = 60000 -- and hardly one for so long: of these events is asked under the lock
local SKEW_MS = 300000 -- clocks, and waits between the time of an event and its id, differ by less


function stock_past.variant(sku, tx)
  local row, e = db.on(tx):one("SELECT v.id, EXISTS (SELECT 1 FROM bundle_parts p"
    .. " WHERE p.bundle_id = v.id) AS is_bundle FROM variants v WHERE v.sku = ?", sku)
  if not row then return row, e end
  return row.id, row.is_bundle == 1
end


-- ---- what there was --------------------------------------------------------------------------

-- The last hour of all places is one statement, so one snapshot: what is moved from one to another
-- is not at both. -> location -> sums
local function latest(variant, places, from, before, tx)
  local args = { sql.bytes(variant), db.at_ms(from), db.at_ms(before) }
  local locations = {}
  for i, place in ipairs(places) do locations[i] = sql.bytes(place.location_id) end
  for _, location in ipairs(db.padded(locations)) do args[#args + 1] = location end
  local rows, e = db.on(tx):query("SELECT location_id, CAST(SUM(on_hand_delta) AS SIGNED)"
    .. " AS on_hand, CAST(SUM(reserved_delta) AS SIGNED) AS reserved FROM stock_events"
    .. " WHERE variant_id = ? AND at >= ? AND at < ? AND location_id IN ("
    .. sql.marks(#args - 3) .. ") GROUP BY location_id", unpack(args))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[row.location_id] = row end
  return out
end


local function places_with_stock(variant, location, tx)
  return db.on(tx):query("SELECT s.variant_id, s.location_id, l.code, l.enabled FROM stock s"
    .. " JOIN locations l ON l.id = s.location_id WHERE s.variant_id = ? AND (? OR l.code = ?)"
    .. " ORDER BY l.priority, l.code", sql.bytes(variant), location == nil, location or "")
end


function stock_past.as_of(variant, as_of, location, tx)
  local places, e = places_with_stock(variant, location, tx)
  if not places or #places == 0 then return places, e end
  local before = time.parse(as_of) + 1
  local settled = math.min(before, time.now_ms() - SETTLED_MS)
  local late, e2 = latest(variant, places, settled, before, tx)
  if not late then return nil, e2 end
  local out, none = {}, { on_hand = 0, reserved = 0 }
  for _, place in ipairs(places) do
    local was, e3 = sums.at(place, settled, tx)
    if was == nil then return nil, e3 end
    local since = late[place.location_id]
    if was or since then
      was, since = was or none, since or none
      place.on_hand, place.reserved = was.on_hand + since.on_hand, was.reserved + since.reserved
      out[#out + 1] = place
    end
  end
  return out
end


-- ---- counts ----------------------------------------------------------------------------------

-- Of which times events may be on either side, in ms, and which are up to it.
local function bounds(tx, moment)
  if moment.taken_at then
    local after = time.parse(moment.taken_at) + 1
    return { from = after, to = after, is_in = "at <= ?", value = db.at(moment.taken_at),
      is_out = "at > ?" }
  end
  local row, e = tx:one("SELECT at FROM stock_events WHERE id <= ? ORDER BY id DESC LIMIT 1",
    moment.event_id)
  if row == nil then return nil, e end
  local at = row and time.parse(row.at) or 0
  return { from = math.max(0, at - SKEW_MS), to = at + SKEW_MS, is_in = "id <= ?",
    value = moment.event_id, is_out = "id > ?" }
end


-- One statement, so one snapshot. moved: of all the last events; units: of those up to the moment
local function recent(tx, at, past)
  local b = past.bounds
  return tx:one("SELECT (SELECT on_hand FROM stock WHERE variant_id = ? AND location_id = ?)"
    .. " AS on_hand, CAST(COALESCE(SUM(on_hand_delta), 0) AS SIGNED) AS moved,"
    .. " CAST(COALESCE(SUM(IF(" .. b.is_in .. ", on_hand_delta, 0)), 0) AS SIGNED) AS units,"
    .. " CAST(COALESCE(SUM(" .. b.is_out .. " AND " .. sums.SAID .. "), 0) AS SIGNED) AS said"
    .. " FROM stock_events WHERE variant_id = ? AND location_id = ? AND at >= ?", at.vbin, at.lbin,
    b.value, b.value, at.vbin, at.lbin, db.at_ms(past.recent))
end


-- Of events before past.recent: units at the moment; said since. Hardly an event is read twice.
local function settle(tx, at, past)
  local place, b = { variant_id = at.variant, location_id = at.location }, past.bounds
  local from, to = math.min(b.from, past.recent), math.min(b.to, past.recent)
  local was, e = sums.at(place, to, tx, true)
  if was == nil then return nil, e end
  was = was or { on_hand = 0 }
  local after, e2 = sums.add(place, from, to, tx, b.is_out, b.value)
  if not after then return nil, e2 end
  local since, e3 = sums.add(place, was.read_to or to, past.recent, tx)
  if not since then return nil, e3 end
  past.units, past.said = was.on_hand - after.on_hand, (was.said or 0) + after.said + since.said
  return past
end


function stock_past.before(tx, at, moment)
  local b, e = bounds(tx, moment)
  if not b then return nil, e end
  local past = { bounds = b, recent = time.now_ms() - RECENT_MS }
  local first, e2 = recent(tx, at, past)
  if not first then return nil, e2 end
  past.on_hand, past.moved = first.on_hand or 0, first.moved
  return settle(tx, at, past)
end


-- A transaction that was open for longer than we think may have added an older event meanwhile:
-- then stock has moved by more than its last events say, and all is asked again.
function stock_past.on_hand_at(tx, at, past, row, is_locked)
  local now, e = recent(tx, at, past)
  if not now then return nil, e end
  if is_locked and row.on_hand - past.on_hand ~= now.moved - past.moved then
    local ok, e2 = settle(tx, at, past)
    if not ok then return nil, e2 end
  end
  -- What a reconciliation wrote says how many there are, too.
  return past.units + now.units, past.said + now.said > 0
end


function stock_past.is_known(moment, tx)
  if not moment.event_id then return true end
  local row, e = db.on(tx):one("SELECT MAX(id) AS id FROM stock_events")
  if not row then return nil, e end
  return moment.event_id <= (row.id or 0)
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
