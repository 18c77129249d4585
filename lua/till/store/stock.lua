-- till/store/stock - units at locations, and what is promised before it is there.
--
-- Every change writes its events in the same transaction (till.store.stock_log). Rows of `stock`
-- are changed by conditional UPDATEs, in the order of variant and location, a variant's row of
-- `backorders` after them: two transactions never wait for each other in a circle, and no reading
-- beforehand is believed. A variant's own row is never locked. Here is what is done in one script,
-- as nearly always (till.flow.payment_session, till.flow.place); statement by statement it is done
-- in till.store.reservations and till.store.units.
--
--   reserve(script, cart_id, items, until_ms) -> rows   for a cart that holds nothing yet, from the
--                                      first location: refused (AGAIN) where not all is there
--   reserve_last(script, rows)         its contended rows: what comes between is the caller's
--   sell(script, held, order_id)       held -> sold, or backordered where the units are not there;
--                                      refused (AGAIN) where one of them is not held any more
--   sell_last(script, held)            its contended rows
--
--   items(priced)                      what a priced cart takes: of a bundle its parts
--   insert(tx, cart_id, item, share, until_at [, since]) -> row    one reservation; it takes no
--                                      units
--   reserved_event(row, cart_id), log_event(tx, event)
--   remember_first(variant_id, location)   the locations before it have none: it is asked first
--
-- items: { variant_id, sku, quantity [, bundle_id, bundle_sku, per_unit] }; rows, held: { id,
-- variant_id, location_id, quantity, bundle_id } in bytes; location_id nil: promised, not there
-- yet.
--
-- Who is served first: waiting transactions get a row in the order in which they asked the database
-- for it. Who asked for the last units first, has them; who is refused by a script (not all was at
-- the first location) asks once more and stands behind those who came meanwhile.
-- From where: the first location by priority that has all of it; where none has, from several in
-- that order; what is then missing is promised where the SKU's policy allows it.
local db = require "till.store.db"
local id = require "till.util.id"
local lru = require "till.util.lru"
local script = require "till.store.script"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local time = require "till.prim.time"
local units = require "till.store.units"

local stock = { AGAIN = script.AGAIN }


function stock.items(priced)
  local out = {}
  for _, line in ipairs(priced.lines) do
    for _, part in ipairs(line.parts or {}) do
      out[#out + 1] = { variant_id = part.variant_id, sku = part.sku,
        quantity = part.quantity * line.quantity, per_unit = part.quantity,
        bundle_id = line.variant_id, bundle_sku = line.sku }
    end
    if not line.parts then
      out[#out + 1] = { variant_id = line.variant_id, sku = line.sku, quantity = line.quantity }
    end
  end
  return out
end


function stock.log_event(tx, e)
  return stock_log.add(tx, { e })
end


-- The location that is taken from before all others. What is remembered may be a moment old: then
-- it was the first a moment ago.
local FIRST_MS = 1000
local first = { until_ms = 0 }


local function first_location()
  if time.mono_ms() < first.until_ms then return first.id end
  local row, e = sql.one("SELECT id FROM locations WHERE enabled = 1 ORDER BY priority, code"
    .. " LIMIT 1")
  if row == nil then return nil, e end
  if not row then return false end
  first.id, first.until_ms = row.id, time.mono_ms() + FIRST_MS
  return first.id
end


-- Where there is some of a variant when the first location has none, for as long.
local REMEMBERED = 10000
local first_of = lru.new(REMEMBERED)


function stock.remember_first(variant_id, location)
  first_of:set(variant_id, location, time.mono_ms() + FIRST_MS)
end


-- A part says whose it is: so few are that the others do without the columns.
local function insert(tx, cart_bin, row, until_at, since)
  local more, values, args = "", "", {}
  if row.bundle_id then
    more, values = ", bundle_id, per_unit", ", ?, ?"
    args = { sql.bytes(row.bundle_id), row.per_unit }
  end
  if since then
    more, values, args[#args + 1] = more .. ", held_since", values .. ", ?", since
  end
  return db.insert(tx, "INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity,"
    .. " expires_at" .. more .. ") VALUES (?, ?, ?, ?, ?, ?" .. values .. ")", sql.bytes(row.id),
    cart_bin, sql.bytes(row.variant_id), row.location_id and sql.bytes(row.location_id) or sql.null,
    row.quantity, until_at, unpack(args))
end


--- One reservation of an item: -> its row | nil, err; tx may be a script. `since`: when the cart
-- began to hold of it, where that was before.
function stock.insert(tx, cart_id, item, place, until_at, since)
  local row = { id = id.bin("res", id.new("res")), variant_id = id.bin("var", item.variant_id),
    location_id = place.location, quantity = place.quantity, per_unit = item.per_unit,
    bundle_id = item.bundle_id and id.bin("var", item.bundle_id) or nil }
  local ok, e = insert(tx, db.bin("cart", cart_id), row, until_at, since)
  if not ok then return nil, e end
  return row
end


function stock.reserved_event(row, cart_id)
  return { variant = row.variant_id, location = row.location_id, type = "reserved",
    quantity = row.quantity, reserved = row.quantity, reference = cart_id }
end


--- -> what is held then, as reservations.unpack gives it | false: there is no location | nil, err
function stock.reserve(s, cart_id, items, until_ms)
  local location, e = first_location()
  if not location then return location, e end
  local until_at, rows, events, now = db.at_ms(until_ms), {}, {}, time.mono_ms()
  for i, item in ipairs(items) do
    rows[i] = stock.insert(s, cart_id, item,
      { location = first_of:get(item.variant_id, now) or location, quantity = item.quantity },
      until_at)
    events[i] = stock.reserved_event(rows[i], cart_id)
  end
  stock_log.add(s, events)
  return rows
end


-- One statement for a row, of all scripts that go together (till.store.script).
local function change_stock(s, refusal, row, text, ...)
  s:rank(script.STOCK)
  s:sum(refusal, row.variant_id .. row.location_id, row.quantity, text, ...)
  s:rank(script.OWN)
end


function stock.reserve_last(s, rows)
  for _, row in ipairs(units.merged(rows)) do
    change_stock(s, stock.AGAIN, row, "UPDATE stock FORCE INDEX (PRIMARY) SET"
      .. " reserved = reserved + ?, version = version + 1 WHERE variant_id = ? AND location_id = ?"
      .. " AND on_hand - reserved >= ?", script.SUM, sql.bytes(row.variant_id),
      sql.bytes(row.location_id), script.SUM)
  end
end


local function to_state(state)
  return { "UPDATE reservations FORCE INDEX (PRIMARY) SET state = '" .. state .. "' WHERE id IN (",
    "?", ", ", ") AND state = 'held'", counts = true }
end


local SOLD, BACKORDERED = to_state "sold", to_state "backordered"


-- What is promised stays promised when it is sold, until it is there (till.store.allotment).
function stock.sell(s, held, order_id)
  local events = {}
  for i, row in ipairs(held) do
    local n = row.location_id and -row.quantity or 0
    s:each(stock.AGAIN, row.location_id and SOLD or BACKORDERED, sql.bytes(row.id))
    events[i] = { variant = row.variant_id, location = row.location_id, type = "sold",
      quantity = -row.quantity, on_hand = n, reserved = n, reference = order_id }
  end
  stock_log.add(s, events)
end


function stock.sell_last(s, held)
  for _, row in ipairs(units.merged(held)) do
    if row.location_id then
      change_stock(s, nil, row, "UPDATE stock FORCE INDEX (PRIMARY) SET on_hand = on_hand - ?,"
        .. " reserved = reserved - ?, version = version + 1 WHERE variant_id = ?"
        .. " AND location_id = ?", script.SUM, script.SUM, sql.bytes(row.variant_id),
        sql.bytes(row.location_id))
    end
  end
end


return stock
