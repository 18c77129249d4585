-- till/store/allotment - units of placed orders: those that come late find their line, and those
-- that are not wanted any more come back.
--
--   allot(tx, variant, location) -> units | nil, err    free units there go to backordered lines in
--                     the order in which they were reserved; last in the transaction that brought
--                     the units. Variant and location in bytes
--   run(limit) -> variants that got some      the same for all that is free, by the job
--   take_back(tx, order_id, cart_id, actor [, units]) -> true | nil, err     of a cancelled order;
--                     units: { variant id of a line -> how many of it }, absent: all. Those that
--                     are not there yet are given up first
--
-- Both change rows of `stock` last. allot waits for no order: one that is changed just now is left
-- to the job, and so is who comes after the first hundred lines. Until the job has come by (a
-- second), what expires or comes back may be bought by others.
local blocked = require "till.store.stock_blocked"
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local orders = require "till.store.orders"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local time = require "till.prim.time"
local ulid = require "till.prim.ulid"
local units = require "till.store.units"

local allotment = {}

local AT_ONCE = 100 -- reservations of one allotment
local ROUNDS = 20 -- of one SKU, each time the job comes by


-- What a line lacks is what its reservations say: of a bundle as much as its scarcest part.
local function recount(tx, order_bin, cart_bin, line_variant)
  local bin = sql.bytes(line_variant)
  return tx:exec("UPDATE order_lines SET backordered_quantity = COALESCE((SELECT"
    .. " MAX(CEIL(x.quantity / x.per_unit)) FROM (SELECT SUM(quantity) AS quantity,"
    .. " MAX(per_unit) AS per_unit FROM reservations WHERE cart_id = ? AND state = 'backordered'"
    .. " AND COALESCE(bundle_id, variant_id) = ? GROUP BY variant_id) x), 0)"
    .. " WHERE order_id = ? AND variant_id = ?", cart_bin, bin, order_bin, bin)
end


-- ---- units that come late ------------------------------------------------------------------

local function free_at(tx, variant_bin, location_bin)
  local row, e = tx:one("SELECT s.on_hand - s.reserved AS free FROM stock s JOIN locations l"
    .. " ON l.id = s.location_id AND l.enabled = 1 JOIN backorders b ON b.variant_id = s.variant_id"
    .. " AND b.promised > 0 WHERE s.variant_id = ? AND s.location_id = ?", variant_bin,
    location_bin)
  if row == nil then return nil, e end
  return row and row.free or 0
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
local function give(tx, row, location, n)
  local order_id, order_bin = id.text("ord", row.order_id), sql.bytes(row.order_id)
  local ok, e = move(tx, row, location, n)
  if ok then
    ok, e = recount(tx, order_bin, sql.bytes(row.cart_id), row.bundle_id or row.variant_id)
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


function allotment.allot(tx, variant, location)
  local variant_bin = sql.bytes(variant)
  local free, e = free_at(tx, variant_bin, sql.bytes(location))
  if not free or free <= 0 then return free and 0, e end
  local rows, e2 = waiting(tx, variant_bin)
  if not rows then return nil, e2 end
  local given, events = 0, {}
  for _, row in ipairs(rows) do
    local n = math.min(free - given, row.quantity)
    if n <= 0 then break end
    local ok, why = give(tx, row, location, n)
    if not ok then return nil, why end
    events[#events + 1], events[#events + 2] = events_of(row, location, n)
    given = given + n
  end
  if given == 0 then return 0 end
  local ok, e3 = stock_log.add(tx, events)
  if ok then ok, e3 = leave(tx, variant, location, given) end
  if not ok then return nil, e3 end
  return given
end


local function allot_all(row)
  local total = 0
  for _ = 1, ROUNDS do
    local given, e = sql.transaction(function(tx)
      return allotment.allot(tx, row.variant_id, row.location_id)
    end)
    if not given then return nil, e end
    total = total + given
    if given == 0 then break end
  end
  return total
end


-- Until then what is blocked is left alone, by this worker.
local passed = {}


-- -> 0 | nil, err
local function pass_over(row, why)
  passed[row.variant_id] = time.mono_ms() + blocked.TRY_AGAIN_MS
  return sql.transaction(function(tx)
    local told, e = blocked.tell(tx, row, why, { backordered = true })
    if not told then return nil, e end
    return 0
  end)
end


local function is_passed(row)
  local until_ms = passed[row.variant_id]
  if until_ms and until_ms <= time.mono_ms() then passed[row.variant_id] = nil end
  return passed[row.variant_id] ~= nil
end


--- One that fails keeps nobody else from getting his.
function allotment.run(limit)
  local rows, e = sql.query("SELECT b.variant_id, s.location_id FROM backorders b"
    .. " JOIN stock s ON s.variant_id = b.variant_id AND s.on_hand > s.reserved JOIN locations l"
    .. " ON l.id = s.location_id AND l.enabled = 1 WHERE b.promised > 0 AND EXISTS (SELECT 1"
    .. " FROM reservations r WHERE r.variant_id = b.variant_id AND r.state = 'backordered')"
    .. " ORDER BY l.priority, l.code LIMIT ?", limit)
  if not rows then return nil, e end
  local n, failed = 0, nil
  for _, row in ipairs(rows) do
    if not is_passed(row) then
      local given, e2 = allot_all(row)
      if blocked.is(e2) then given, e2 = pass_over(row, e2) end
      if not given and not err.is(e2, "busy") then failed = failed or e2 end
      if given and given > 0 then n = n + 1 end
    end
  end
  if failed then return nil, failed end
  return n
end


-- ---- units that come back ------------------------------------------------------------------

-- What is not there yet first, then what the last of the locations gave: what was sent already
-- came from the first.
local function sold_rows(tx, cart_bin)
  return tx:query("SELECT id, variant_id, location_id, quantity, bundle_id, per_unit"
    .. " FROM reservations WHERE cart_id = ? AND state IN ('sold', 'backordered')"
    .. " ORDER BY location_id IS NOT NULL, variant_id, (SELECT l.priority FROM locations l"
    .. " WHERE l.id = reservations.location_id) DESC, (SELECT l.code FROM locations l"
    .. " WHERE l.id = reservations.location_id) DESC, id FOR UPDATE", cart_bin)
end


-- -> rows as they come back, each with how many of it
local function chosen(rows, wanted)
  local out, left = {}, {}
  for _, row in ipairs(rows) do
    local line = id.text("var", row.bundle_id or row.variant_id)
    local key, n = line .. row.variant_id, row.quantity
    if wanted then
      left[key] = left[key] or (wanted[line] or 0) * row.per_unit
      n = math.min(n, left[key])
      left[key] = left[key] - n
    end
    if n > 0 then
      out[#out + 1] = { id = row.id, variant_id = row.variant_id, location_id = row.location_id,
        quantity = n, is_all = n == row.quantity, line = row.bundle_id or row.variant_id }
    end
  end
  return out
end


local function shrink(tx, row)
  if row.is_all then
    return tx:exec("UPDATE reservations SET state = 'released' WHERE id = ?", sql.bytes(row.id))
  end
  return tx:exec("UPDATE reservations SET quantity = quantity - ? WHERE id = ?", row.quantity,
    sql.bytes(row.id))
end


local function put_back(tx, rows)
  for _, row in ipairs(units.merged(rows)) do
    local ok, e
    if row.location_id then
      ok, e = tx:exec("UPDATE stock SET on_hand = on_hand + ?, version = version + 1"
        .. " WHERE variant_id = ? AND location_id = ?", row.quantity, sql.bytes(row.variant_id),
        sql.bytes(row.location_id))
    else
      ok, e = units.unpromise(tx, row)
    end
    if not ok then return nil, e end
  end
  return true
end


local function returned_event(row, order_id, actor)
  local there = row.location_id ~= nil
  return { variant = row.variant_id, location = row.location_id, actor = actor,
    type = there and "returned" or "released", quantity = row.quantity,
    on_hand = there and row.quantity or 0, reserved = there and 0 or -row.quantity,
    reference = order_id, reason = "order cancelled" }
end


function allotment.take_back(tx, order_id, cart_id, actor, wanted)
  if not cart_id then return true end
  local order_bin, cart_bin = db.bin("ord", order_id), db.bin("cart", cart_id)
  local rows, e = sold_rows(tx, cart_bin)
  if not rows then return nil, e end
  local back, lines, events = chosen(rows, wanted), {}, {}
  local ok, e2 = true, nil
  for i, row in ipairs(back) do
    lines[row.line], events[i] = true, returned_event(row, order_id, actor)
    if ok then ok, e2 = shrink(tx, row) end
  end
  for line in pairs(lines) do
    if ok then ok, e2 = recount(tx, order_bin, cart_bin, line) end
  end
  if ok then ok, e2 = stock_log.add(tx, events) end
  if ok then ok, e2 = put_back(tx, back) end
  if not ok then return nil, e2 end
  return true
end


return allotment
