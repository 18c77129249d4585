-- till/store/stock - what is there, what is held, and the log of it.
--
-- Every change writes its events in the same transaction (till.store.stock_log). Rows are changed
-- by one conditional UPDATE each, in the order of the variants' ids: two transactions never wait
-- for each other in a circle, and no reading beforehand is believed. A variant's own row is never
-- locked.
--
--   hold(tx, cart_id, items, until_ms) -> true | nil, err(sold_out)
--   reserve(script, cart_id, items, until_ms)  the same for a cart that holds nothing yet, from the
--                                      first location: refused (AGAIN) where not all is there
--   reserve_last(script, …)            its contended rows: what comes between is the caller's
--   extend(cart_id, until_ms)          held ones only
--   unpack_held(packed) -> held        { id, variant, location, quantity } of stock.HELD, in order
--   is_held(held, items) -> boolean    exactly these are held
--   sell(script, held, order_id)       held -> sold; refused where one of them is not held any more
--   sell_last(script, held)            its contended rows
--   release(tx, cart_id)
--   expire(limit) -> how many carts lost what they held
--   available(variant_ids) -> { variant id -> units }
--   offers(variant_ids) -> { variant id -> { available =, version = } }
--   log_event(tx, event)               for till.store.inventory
--
-- items: { variant_id, sku, quantity }, as stock.items(priced) makes them of a priced cart.
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local time = require "till.prim.time"

local stock = {}


function stock.items(priced)
  local out = {}
  for i, line in ipairs(priced.lines) do
    out[i] = { variant_id = line.variant_id, sku = line.sku, quantity = line.quantity }
  end
  return out
end


local function log_event(tx, e)
  return stock_log.add(tx, { e })
end


-- Everybody takes in the same order. Ids sort as their bytes do.
local function in_order(items)
  local out = {}
  for i, item in ipairs(items) do out[i] = item end
  table.sort(out, function(a, b) return a.variant_id < b.variant_id end)
  return out
end


local function held_rows(tx, cart_id)
  return tx:query("SELECT id, variant_id, location_id, quantity, expires_at FROM reservations"
    .. " WHERE cart_id = ? AND state = 'held' ORDER BY variant_id, id FOR UPDATE",
    db.bin("cart", cart_id))
end


-- Gives back one reservation; nothing happens when somebody else already did.
local function let_go(tx, row, state, reference)
  local done, e = tx:exec("UPDATE reservations SET state = ? WHERE id = ? AND state = 'held'",
    state, sql.bytes(row.id))
  if not done then return nil, e end
  if done.affected == 0 then return true end
  done, e = tx:exec("UPDATE stock SET reserved = reserved - ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ?", row.quantity, sql.bytes(row.variant_id),
    sql.bytes(row.location_id))
  if not done then return nil, e end
  return log_event(tx, { variant = row.variant_id, location = row.location_id, type = state,
    quantity = row.quantity, reserved = -row.quantity, reference = reference })
end


function stock.release(tx, cart_id)
  local rows, e = held_rows(tx, cart_id)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local ok, e2 = let_go(tx, row, "released", cart_id)
    if not ok then return nil, e2 end
  end
  return true
end


-- Looked at again under the lock: the cart may hold it for longer by now.
local function let_expire(tx, cart_id)
  local rows, e = held_rows(tx, cart_id)
  if not rows then return nil, e end
  local now_ms = time.now_ms()
  for _, row in ipairs(rows) do
    if time.parse(row.expires_at) < now_ms then
      local ok, e2 = let_go(tx, row, "expired", cart_id)
      if not ok then return nil, e2 end
    end
  end
  return true
end


-- Reservations of others whose time is over give way when stock is short. A cart that is being
-- completed keeps what it holds.
local function sweep(tx, variant_bin)
  local rows, e = tx:query("SELECT r.id, r.cart_id, r.variant_id, r.location_id, r.quantity"
    .. " FROM reservations r JOIN carts c ON c.id = r.cart_id WHERE r.variant_id = ?"
    .. " AND r.state = 'held' AND r.expires_at < ?"
    .. " AND (c.state <> 'completing' OR c.claimed_until < ?) ORDER BY r.id"
    .. " FOR UPDATE SKIP LOCKED", variant_bin, db.now(), db.now())
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local ok, e2 = let_go(tx, row, "expired", id.text("cart", row.cart_id))
    if not ok then return nil, e2 end
  end
  return #rows
end


-- The first location, by priority, that has all of it.
local function take(tx, variant_bin, quantity)
  local places, e = tx:query("SELECT s.location_id FROM stock s JOIN locations l"
    .. " ON l.id = s.location_id WHERE s.variant_id = ? ORDER BY l.priority, l.code", variant_bin)
  if not places then return nil, e end
  for _, place in ipairs(places) do
    local done, e2 = tx:exec("UPDATE stock SET reserved = reserved + ?, version = version + 1"
      .. " WHERE variant_id = ? AND location_id = ? AND on_hand - reserved >= ?", quantity,
      variant_bin, sql.bytes(place.location_id), quantity)
    if not done then return nil, e2 end
    if done.affected == 1 then return place.location_id end
  end
  return false
end


local function refuse(tx, item, variant_bin)
  local row = tx:one("SELECT CAST(COALESCE(SUM(on_hand - reserved), 0) AS SIGNED) AS left_over"
    .. " FROM stock WHERE variant_id = ?", variant_bin)
  local left = row and row.left_over or 0
  return nil, err.new("sold_out", left > 0
    and ("only %d of %s are left"):format(left, item.sku)
    or ("%s is sold out"):format(item.sku), { sku = item.sku, available = left })
end


local function hold_one(tx, cart_id, item, until_ms)
  local bin = db.bin("var", item.variant_id)
  local location, e = take(tx, bin, item.quantity)
  if location == false then
    local swept
    swept, e = sweep(tx, bin)
    if swept == nil then return nil, e end
    if swept > 0 then location, e = take(tx, bin, item.quantity) end
  end
  if location == false then return refuse(tx, item, bin) end
  if not location then return nil, e end
  local ok, e2 = tx:exec("INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity,"
    .. " expires_at) VALUES (?, ?, ?, ?, ?, ?)", db.bin("res", id.new("res")),
    db.bin("cart", cart_id), bin, sql.bytes(location), item.quantity, db.at_ms(until_ms))
  if not ok then return nil, e2 end
  return log_event(tx, { variant = id.bin("var", item.variant_id), location = location,
    type = "reserved", quantity = item.quantity, reserved = item.quantity, reference = cart_id })
end


local function is_same(rows, items)
  if #rows ~= #items then return false end
  local held = {}
  for _, row in ipairs(rows) do held[id.text("var", row.variant_id)] = row.quantity end
  for _, item in ipairs(items) do
    if held[item.variant_id] ~= item.quantity then return false end
  end
  return true
end


local function hold_anew(tx, cart_id, rows, items, until_ms)
  for _, row in ipairs(rows) do
    local ok, e = let_go(tx, row, "released", cart_id)
    if not ok then return nil, e end
  end
  for _, item in ipairs(in_order(items)) do
    local ok, e = hold_one(tx, cart_id, item, until_ms)
    if not ok then return nil, e end
  end
  return true
end


function stock.hold(tx, cart_id, items, until_ms)
  local rows, e = held_rows(tx, cart_id)
  if not rows then return nil, e end
  if is_same(rows, items) then
    return tx:exec("UPDATE reservations SET expires_at = GREATEST(expires_at, ?)"
      .. " WHERE cart_id = ? AND state = 'held'", db.at_ms(until_ms), db.bin("cart", cart_id))
  end
  return hold_anew(tx, cart_id, rows, items, until_ms)
end


function stock.extend(cart_id, until_ms)
  return sql.exec("UPDATE reservations SET expires_at = GREATEST(expires_at, ?)"
    .. " WHERE cart_id = ? AND state = 'held'", db.at_ms(until_ms), db.bin("cart", cart_id))
end


-- Held reservations of a cart in one column: 3 * 16 bytes of ids and 19 digits each. They are
-- sorted here: an ORDER BY inside costs the database five times the whole.
local HELD_BYTES = 67
stock.HELD = "(SELECT GROUP_CONCAT(id, variant_id, location_id, LPAD(quantity, 19, '0')"
  .. " SEPARATOR '') FROM reservations WHERE cart_id = ? AND state = 'held')"


function stock.unpack_held(packed)
  local out = {}
  for at = 1, #packed, HELD_BYTES do
    out[#out + 1] = { id = packed:sub(at, at + 15), variant_id = packed:sub(at + 16, at + 31),
      location_id = packed:sub(at + 32, at + 47),
      quantity = tonumber(packed:sub(at + 48, at + 66)) }
  end
  table.sort(out, function(a, b) return a.variant_id < b.variant_id end)
  return out
end


stock.is_held = is_same
stock.AGAIN = "again"


-- The location that is taken from before all others. What is remembered may be a moment old: then
-- it was the first a moment ago.
local FIRST_MS = 5000
local first = { until_ms = 0 }


local function first_location()
  if time.mono_ms() < first.until_ms then return first.id end
  local row, e = sql.one("SELECT id FROM locations ORDER BY priority, code LIMIT 1")
  if not row then return nil, e or err.new("internal", "there is no location") end
  first.id, first.until_ms = row.id, time.mono_ms() + FIRST_MS
  return first.id
end


--- -> what is held then, as stock.unpack_held gives it | nil, err
function stock.reserve(script, cart_id, items, until_ms)
  local location, e = first_location()
  if not location then return nil, e end
  local bin, until_at, rows, events = db.bin("cart", cart_id), db.at_ms(until_ms), {}, {}
  for i, item in ipairs(in_order(items)) do
    local variant, reservation = id.bin("var", item.variant_id), id.bin("res", id.new("res"))
    rows[i] = { id = reservation, variant_id = variant, location_id = location,
      quantity = item.quantity }
    events[i] = { variant = variant, location = location, type = "reserved",
      quantity = item.quantity, reserved = item.quantity, reference = cart_id }
    script:exec("INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity,"
      .. " expires_at) VALUES (?, ?, ?, ?, ?, ?)", sql.bytes(reservation), bin,
      sql.bytes(variant), sql.bytes(location), item.quantity, until_at)
  end
  stock_log.add(script, events)
  return rows
end


function stock.reserve_last(script, rows)
  for _, row in ipairs(rows) do
    script:must(stock.AGAIN, 1, "UPDATE stock SET reserved = reserved + ?, version = version + 1"
      .. " WHERE variant_id = ? AND location_id = ? AND on_hand - reserved >= ?", row.quantity,
      sql.bytes(row.variant_id), sql.bytes(row.location_id), row.quantity)
  end
end


function stock.sell(script, held, order_id)
  local ids, events = {}, {}
  for i, row in ipairs(held) do
    ids[i] = sql.bytes(row.id)
    events[i] = { variant = row.variant_id, location = row.location_id, type = "sold",
      quantity = -row.quantity, on_hand = -row.quantity, reserved = -row.quantity,
      reference = order_id }
  end
  script:must(stock.AGAIN, #held, "UPDATE reservations SET state = 'sold' WHERE id IN ("
    .. sql.marks(#held) .. ") AND state = 'held'", unpack(ids))
  stock_log.add(script, events)
end


function stock.sell_last(script, held)
  for _, row in ipairs(held) do
    script:exec("UPDATE stock SET on_hand = on_hand - ?, reserved = reserved - ?,"
      .. " version = version + 1 WHERE variant_id = ? AND location_id = ?", row.quantity,
      row.quantity, sql.bytes(row.variant_id), sql.bytes(row.location_id))
  end
end


--- One transaction for one cart, so that a long queue holds no lock for long.
function stock.expire(limit)
  local rows, e = sql.query("SELECT DISTINCT r.cart_id FROM reservations r JOIN carts c"
    .. " ON c.id = r.cart_id WHERE r.state = 'held' AND r.expires_at < ?"
    .. " AND (c.state <> 'completing' OR c.claimed_until < ?) LIMIT ?", db.now(), db.now(), limit)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local ok, e2 = sql.transaction(function(tx)
      return let_expire(tx, id.text("cart", row.cart_id))
    end)
    if not ok then return nil, e2 end
  end
  return #rows
end


--- The version grows with everything that changes what can be sold.
function stock.offers(variant_ids, tx)
  local out, bins = {}, db.bins("var", variant_ids)
  if #bins == 0 then return out end
  local rows, e = db.on(tx):query("SELECT s.variant_id, CAST(SUM(IF(l.enabled, s.on_hand"
    .. " - s.reserved, 0)) AS SIGNED) AS free, CAST(SUM(s.version) AS SIGNED) AS version"
    .. " FROM stock s JOIN locations l ON l.id = s.location_id WHERE s.variant_id IN ("
    .. sql.marks(#bins) .. ") GROUP BY s.variant_id", unpack(bins))
  if not rows then return nil, e end
  for _, variant_id in ipairs(variant_ids) do out[variant_id] = { available = 0, version = 0 } end
  for _, row in ipairs(rows) do
    out[id.text("var", row.variant_id)] = { available = row.free, version = row.version }
  end
  return out
end


function stock.available(variant_ids, tx)
  local offers, e = stock.offers(variant_ids, tx)
  if not offers then return nil, e end
  local out = {}
  for variant_id, offer in pairs(offers) do out[variant_id] = offer.available end
  return out
end


stock.log_event = log_event


return stock
