-- till/store/allotment_give - units that have come go to the orders that wait for them.
--
--   allot(tx, variant, location) -> units | nil, err    free units there go to backordered lines in
--                     the order in which they were reserved; last in the transaction that brought
--                     the units. Variant and location in bytes
--                     false, err: less is promised than waits; nothing was changed
--   arrived(tx, variant, location) -> true | nil, err     the same for who has brought units; where
--                     it cannot be staff are told (till.store.stock_blocked)
--   tell(tx, variant, location, err)    of that
--   recount(tx, order, cart, variant)   what the line of an order lacks; all in bytes
--
-- It waits for no order: one that is changed just now is left to the job, and so is who comes after
-- the first hundred lines (till.store.allotment).
local blocked = require "till.store.stock_blocked"
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local orders = require "till.store.orders"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local ulid = require "till.prim.ulid"
local units = require "till.store.units"

local give = {}

local AT_ONCE = 100 -- reservations of one allotment


-- What a line lacks is what its reservations say: of a bundle as much as its scarcest part.
function give.recount(tx, order_bin, cart_bin, line_variant)
  local bin = sql.bytes(line_variant)
  return tx:exec("UPDATE order_lines SET backordered_quantity = COALESCE((SELECT"
    .. " MAX(CEIL(x.quantity / x.per_unit)) FROM (SELECT SUM(quantity) AS quantity,"
    .. " MAX(per_unit) AS per_unit FROM reservations WHERE cart_id = ? AND state = 'backordered'"
    .. " AND COALESCE(bundle_id, variant_id) = ? GROUP BY variant_id) x), 0)"
    .. " WHERE order_id = ? AND variant_id = ?", cart_bin, bin, order_bin, bin)
end


local function free_at(tx, variant_bin, location_bin)
  local row, e = tx:one("SELECT s.on_hand - s.reserved AS free, b.promised FROM stock s"
    .. " JOIN locations l ON l.id = s.location_id AND l.enabled = 1 JOIN backorders b"
    .. " ON b.variant_id = s.variant_id AND b.promised > 0"
    .. " WHERE s.variant_id = ? AND s.location_id = ?", variant_bin, location_bin)
  if row == nil then return nil, e end
  return row or { free = 0 }
end


-- Found first and locked then: what is locked is what is needed.
local function waiting(tx, variant_bin)
  local rows, e = tx:query("SELECT id FROM reservations WHERE variant_id = ?"
    .. " AND state = 'backordered' ORDER BY id LIMIT " .. AT_ONCE, variant_bin)
  if not rows or #rows == 0 then return rows, e end
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = sql.bytes(row.id) end
  db.padded(ids)
  return tx:query("SELECT r.id, r.cart_id, r.variant_id, r.quantity, r.bundle_id, r.per_unit,"
    .. " r.expires_at, o.id AS order_id FROM reservations r JOIN orders o ON o.cart_id = r.cart_id"
    .. " WHERE r.id IN (" .. sql.marks(#ids) .. ") AND r.state = 'backordered' ORDER BY r.id"
    .. " FOR UPDATE SKIP LOCKED", unpack(ids))
end


local function move(tx, row, location, n)
  if n == row.quantity then
    return tx:exec("UPDATE reservations SET state = 'sold', location_id = ? WHERE id = ?",
      sql.bytes(location), sql.bytes(row.id))
  end
  local ok, e = tx:exec("UPDATE reservations SET quantity = quantity - ? WHERE id = ?", n,
    sql.bytes(row.id))
  if not ok then return nil, e end
  return tx:exec("INSERT INTO reservations (id, cart_id, variant_id, location_id, quantity,"
    .. " bundle_id, per_unit, state, expires_at) SELECT ?, cart_id, variant_id, ?, ?, bundle_id,"
    .. " per_unit, 'sold', expires_at FROM reservations WHERE id = ?", sql.bytes(ulid.new()),
    sql.bytes(location), n, sql.bytes(row.id))
end


-- What an order gets: its reservation, its line, its timeline.
local function give_to(tx, row, location, n)
  local order_id, order_bin = id.text("ord", row.order_id), sql.bytes(row.order_id)
  local ok, e = move(tx, row, location, n)
  if ok then
    ok, e = give.recount(tx, order_bin, sql.bytes(row.cart_id), row.bundle_id or row.variant_id)
  end
  if ok then
    ok, e = orders.event(tx, order_id, "allotted", "system", { quantity = n,
      variant_id = id.text("var", row.variant_id), location_id = id.text("loc", location) })
  end
  if ok then ok, e = orders.set(tx, order_id, {}) end
  return ok, e
end


local function events_of(row, location, n)
  local reference = id.text("ord", row.order_id)
  return { variant = row.variant_id, location = location, type = "allotted", quantity = -n,
      on_hand = -n, reference = reference },
    { variant = row.variant_id, type = "allotted", quantity = -n, reserved = -n,
      reference = reference }
end


local function leave(tx, variant, location, n)
  local done, e = tx:exec("UPDATE stock SET on_hand = on_hand - ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ? AND on_hand - reserved >= ?", n,
    sql.bytes(variant), sql.bytes(location), n)
  if not done then return nil, e end
  if done.affected == 0 then
    return nil, err.new("busy", "the stock is changed at the same time; try again")
  end
  return units.unpromise(tx, { variant_id = variant, quantity = n })
end


-- -> { row =, n = } of those who get some, and how many all of them get
local function divide(rows, free)
  local out, given = {}, 0
  for _, row in ipairs(rows) do
    local n = math.min(free - given, row.quantity)
    if n <= 0 then break end
    out[#out + 1], given = { row = row, n = n }, given + n
  end
  return out, given
end


function give.allot(tx, variant, location)
  local variant_bin = sql.bytes(variant)
  local at, e = free_at(tx, variant_bin, sql.bytes(location))
  if not at or at.free <= 0 then return at and 0, e end
  local rows, e2 = waiting(tx, variant_bin)
  if not rows then return nil, e2 end
  local shares, given = divide(rows, at.free)
  if given == 0 then return 0 end
  if given > at.promised then
    return false, err.new("rejected", "less is promised than waits for it")
  end
  local events = {}
  for _, share in ipairs(shares) do
    local ok, why = give_to(tx, share.row, location, share.n)
    if not ok then return nil, why end
    events[#events + 1], events[#events + 2] = events_of(share.row, location, share.n)
  end
  local ok, e3 = stock_log.add(tx, events)
  if ok then ok, e3 = leave(tx, variant, location, given) end
  if not ok then return nil, e3 end
  return given
end


function give.tell(tx, variant, location, why)
  return blocked.tell(tx, { variant_id = variant, location_id = location }, why,
    { backordered = true })
end


function give.arrived(tx, variant, location)
  local given, e = give.allot(tx, variant, location)
  if given == false then return give.tell(tx, variant, location, e) end
  if not given then return nil, e end
  return true
end


return give
