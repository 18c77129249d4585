-- till/store/stock_compare - stock, its log, reservations and orders against each other, and
-- putting stock right.
--
--   slice(after, limit) -> keys { variant_id, location_id, sku, at, on_hand, reserved, events } of
--                       the rows that come after the row `after` { variant_id, location_id }; from
--                       `at` on: the newest checkpoint (till.store.stock_sums)
--   of_variant(variant) -> keys of one variant, from the log's beginning
--   rows(keys)       -> rows { variant_id, location_id, sku, on_hand, reserved, log_on_hand,
--                       log_reserved, held, events }: one statement, so one snapshot; what is only
--                       under way is not in it.  is_equal(row)
--   repair(tx, key, reference, base) -> row, repaired or not | false: it is equal | nil, err;
--                       without a reference nothing is repaired. base { at_ms, sum }: of the log
--                       from its beginning (till.store.stock_sums)
--   promised(after, last)     keys of `backorders`, of variants after the one and up to the other
--   promises(keys)      rows of them: { variant_id, sku, promised, log_promised, held, events }.
--                       is_kept(row)
--   repair_promise(tx, variant, reference, base)    likewise
--   lost_sales(variants, since_ms)   sold reservations that no order has
--   orders_without(from_ms, to_ms)   orders from carts that have no sale
--   overdue(variants, before_ms)     held although their time is over since, by carts that are open
--
-- Policy of a repair: what can be sold was decided by the projection, and what is held is held by
-- reservations. So on_hand stays, reserved becomes what is held, and one event says by how much the
-- log differed; the log's older events stay as they are. Where more is held than there is, nothing
-- is repaired: somebody has to look.
local db = require "till.store.db"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local stock_sums = require "till.store.stock_sums"
local time = require "till.prim.time"

local compare = {}

local EPOCH = "1970-01-01T00:00:00Z"


-- ---- looking -------------------------------------------------------------------------------

local KEYS = "SELECT s.variant_id, s.location_id, (SELECT v.sku FROM variants v"
  .. " WHERE v.id = s.variant_id) AS sku, c.at, COALESCE(c.on_hand, 0) AS on_hand,"
  .. " COALESCE(c.reserved, 0) AS reserved, COALESCE(c.events, 0) AS events FROM stock s"
  .. " LEFT JOIN stock_checkpoints c ON c.variant_id = s.variant_id"
  .. " AND c.location_id = s.location_id AND c.at = (SELECT MAX(m.at) FROM stock_checkpoints m"
  .. " WHERE m.variant_id = s.variant_id AND m.location_id = s.location_id) WHERE "


function compare.slice(after, limit)
  local variant = sql.bytes(after.variant_id)
  return sql.query(KEYS .. "s.variant_id >= ? AND (s.variant_id > ? OR s.location_id > ?)"
    .. " ORDER BY s.variant_id, s.location_id LIMIT ?", variant, variant,
    sql.bytes(after.location_id), limit)
end


--- Checkpoints are passed over: all of the log counts.
function compare.of_variant(variant)
  return sql.query("SELECT variant_id, location_id, 0 AS on_hand, 0 AS reserved, 0 AS events"
    .. " FROM stock"
    .. " WHERE variant_id = ?", sql.bytes(variant))
end


local ONE = "SELECT s.variant_id, s.location_id, s.on_hand, s.reserved,"
  .. " (SELECT v.sku FROM variants v WHERE v.id = s.variant_id) AS sku,"
  .. " CAST(? + COALESCE(SUM(e.on_hand_delta), 0) AS SIGNED) AS log_on_hand,"
  .. " CAST(? + COALESCE(SUM(e.reserved_delta), 0) AS SIGNED) AS log_reserved,"
  .. " COUNT(e.id) AS events, (SELECT CAST(COALESCE(SUM(r.quantity), 0) AS SIGNED)"
  .. " FROM reservations r WHERE r.variant_id = s.variant_id AND r.location_id = s.location_id"
  .. " AND r.state = 'held') AS held FROM stock s LEFT JOIN stock_events e"
  .. " ON e.variant_id = ? AND e.location_id = ? AND e.at >= ?"
  .. " WHERE s.variant_id = ? AND s.location_id = ? GROUP BY s.variant_id, s.location_id"


-- Constants in each part let the index lead to the events since the checkpoint, and to no others.
function compare.rows(keys, tx)
  if #keys == 0 then return {} end
  local args, n = {}, #keys
  for _, key in ipairs(keys) do
    local variant, location = sql.bytes(key.variant_id), sql.bytes(key.location_id)
    local at = #args
    args[at + 1], args[at + 2], args[at + 3], args[at + 4] = key.on_hand, key.reserved, variant,
      location
    args[at + 5], args[at + 6], args[at + 7] = db.at(key.at or EPOCH), variant, location
  end
  return db.on(tx):query(ONE .. (" UNION ALL " .. ONE):rep(n - 1), unpack(args))
end


function compare.is_equal(row)
  return row.on_hand == row.log_on_hand and row.reserved == row.log_reserved
    and row.reserved == row.held
end


-- ---- putting right -------------------------------------------------------------------------

local function because(row)
  return ("the log said %d and %d held, stock %d and %d, reservations %d held")
    :format(row.log_on_hand, row.log_reserved, row.on_hand, row.reserved, row.held)
end


local function compensate(tx, row, reference)
  local ok, e = tx:exec("UPDATE stock SET reserved = ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ?", row.held, sql.bytes(row.variant_id),
    sql.bytes(row.location_id))
  if not ok then return nil, e end
  return stock_log.add(tx, { { variant = row.variant_id, location = row.location_id,
    type = "adjusted", quantity = row.on_hand - row.log_on_hand,
    on_hand = row.on_hand - row.log_on_hand, reserved = row.held - row.log_reserved,
    reference = reference, reason = because(row), actor = "system", tells = true } })
end


--- Looked at again under the lock of the row, from `base` on: whoever changes it has either
-- committed all of his change or none. No checkpoint is believed.
function compare.repair(tx, key, reference, base)
  local locked, e = tx:one("SELECT version FROM stock WHERE variant_id = ? AND location_id = ?"
    .. " FOR UPDATE", sql.bytes(key.variant_id), sql.bytes(key.location_id))
  if not locked then return locked, e end
  local rows, e2 = compare.rows({ { variant_id = key.variant_id, location_id = key.location_id,
    at = time.rfc3339(base.at_ms), on_hand = base.sum.on_hand, reserved = base.sum.reserved } },
    tx)
  if not rows then return nil, e2 end
  local row = rows[1]
  local ok, e3 = stock_sums.forget(key, tx)
  if not ok then return nil, e3 end
  if compare.is_equal(row) then return false end
  if row.on_hand >= row.held and reference then
    ok, e3 = compensate(tx, row, reference)
    if not ok then return nil, e3 end
    row.repaired = true
  end
  return row
end


-- ---- what is promised ------------------------------------------------------------------------

local AT_ONCE = 100 -- variants a statement
local NOWHERE = ("\0"):rep(16)

local PROMISE = "SELECT b.variant_id, (SELECT v.sku FROM variants v WHERE v.id = b.variant_id)"
  .. " AS sku, b.promised, b.policy, b.unit_limit,"
  .. " CAST(? + COALESCE(SUM(e.reserved_delta), 0) AS SIGNED) AS log_promised,"
  .. " COUNT(e.id) AS events,"
  .. " (SELECT CAST(COALESCE(SUM(r.quantity), 0) AS SIGNED) FROM reservations r"
  .. " WHERE r.variant_id = b.variant_id AND r.location_id IS NULL"
  .. " AND r.state IN ('held', 'backordered')) AS held FROM backorders b LEFT JOIN stock_events e"
  .. " ON e.variant_id = ? AND e.location_id IS NULL AND e.at >= ?"
  .. " WHERE b.variant_id = ? GROUP BY b.variant_id"


function compare.promised(after, last)
  return sql.query("SELECT b.variant_id, c.at, 0 AS on_hand, COALESCE(c.reserved, 0) AS reserved,"
    .. " COALESCE(c.events, 0) AS events FROM backorders b LEFT JOIN stock_checkpoints c"
    .. " ON c.variant_id = b.variant_id AND c.location_id = ? AND c.at = (SELECT MAX(m.at)"
    .. " FROM stock_checkpoints m WHERE m.variant_id = b.variant_id AND m.location_id = ?)"
    .. " WHERE b.variant_id > ? AND b.variant_id <= ? ORDER BY b.variant_id", sql.bytes(NOWHERE),
    sql.bytes(NOWHERE), sql.bytes(after), sql.bytes(last))
end


-- As rows.
function compare.promises(keys, tx)
  local out = {}
  for from = 1, #keys, AT_ONCE do
    local args, n = {}, math.min(AT_ONCE, #keys - from + 1)
    for i = from, from + n - 1 do
      local key, at = keys[i], #args
      local variant = sql.bytes(key.variant_id)
      args[at + 1], args[at + 2], args[at + 3], args[at + 4] = key.reserved, variant,
        db.at(key.at or EPOCH), variant
    end
    local rows, e = db.on(tx):query(PROMISE .. (" UNION ALL " .. PROMISE):rep(n - 1), unpack(args))
    if not rows then return nil, e end
    for _, row in ipairs(rows) do out[#out + 1] = row end
  end
  return out
end


function compare.is_kept(row)
  return row.promised == row.log_promised and row.promised == row.held
end


--- As repair, for a row of `backorders`.
function compare.repair_promise(tx, variant, reference, base)
  local bin = sql.bytes(variant)
  local locked, e = tx:one("SELECT version FROM backorders WHERE variant_id = ? FOR UPDATE", bin)
  if not locked then return locked, e end
  local rows, e2 = compare.promises({ { variant_id = variant, at = time.rfc3339(base.at_ms),
    reserved = base.sum.reserved } }, tx)
  if not rows then return nil, e2 end
  local row = rows[1]
  local gone, e4 = stock_sums.forget({ variant_id = variant }, tx)
  if not gone then return nil, e4 end
  if compare.is_kept(row) then return false end
  if not reference or row.policy ~= "deny" and row.held > row.unit_limit then return row end
  local ok, e3 = tx:exec("UPDATE backorders SET promised = ?, version = version + 1"
    .. " WHERE variant_id = ?", row.held, bin)
  if ok then
    ok, e3 = stock_log.add(tx, { { variant = variant, type = "adjusted",
      quantity = row.held - row.log_promised, reserved = row.held - row.log_promised,
      reference = reference, actor = "system", tells = true,
      reason = ("the log said that %d are promised,"
        .. " backorders %d, reservations %d"):format(row.log_promised, row.promised, row.held) } })
  end
  if not ok then return nil, e3 end
  row.repaired = true
  return row
end


-- ---- orders and carts ----------------------------------------------------------------------

local function bytes_of(variants)
  local out = {}
  for i, variant in ipairs(variants) do out[i] = sql.bytes(variant) end
  return out
end


function compare.lost_sales(variants, since_ms)
  local args = db.padded(bytes_of(variants))
  local n = #args
  args[n + 1] = db.at_ms(since_ms)
  return sql.query("SELECT r.cart_id, r.variant_id, r.quantity FROM reservations r"
    .. " WHERE r.variant_id IN (" .. sql.marks(n) .. ")"
    .. " AND r.state IN ('sold', 'backordered') AND r.expires_at > ?"
    .. " AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.cart_id = r.cart_id)", unpack(args))
end


function compare.overdue(variants, before_ms)
  local args = db.padded(bytes_of(variants))
  local n = #args
  args[n + 1] = db.at_ms(before_ms)
  return sql.query("SELECT r.cart_id, r.variant_id, r.quantity FROM reservations r JOIN carts c"
    .. " ON c.id = r.cart_id WHERE r.variant_id IN (" .. sql.marks(n) .. ") AND r.state = 'held'"
    .. " AND r.expires_at < ? AND c.state <> 'completing'", unpack(args))
end


function compare.orders_without(from_ms, to_ms)
  return sql.query("SELECT o.id FROM orders o WHERE o.placed_at > ? AND o.placed_at <= ?"
    .. " AND o.cart_id IS NOT NULL AND o.status <> 'cancelled' AND NOT EXISTS"
    .. " (SELECT 1 FROM reservations r WHERE r.cart_id = o.cart_id"
    .. " AND r.state IN ('sold', 'backordered')) LIMIT 1000",
    db.at_ms(from_ms), db.at_ms(to_ms))
end


return compare
