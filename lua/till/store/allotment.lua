-- till/store/allotment - units of placed orders: those that come late find their line, and those
-- that are not wanted any more come back.
--
--   allot(tx, variant, location), arrived(tx, variant, location)   of till.store.allotment_give
--   run(limit) -> variants that got some      all that is free goes to who waits for it, by the
--                     job; limit: of those that are tried
--   take_back(tx, order_id, cart_id, actor [, units]) -> true | nil, err     of a cancelled order;
--                     units: { variant id of a line -> how many of it }, absent: all. Those that
--                     are not there yet are given up first
--
-- All change rows of `stock` last. Until the job has come by (a second), what expires or comes back
-- may be bought by others.
local blocked = require "till.store.stock_blocked"
local db = require "till.store.db"
local err = require "till.util.err"
local give = require "till.store.allotment_give"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local time = require "till.prim.time"
local units = require "till.store.units"

local allotment = { allot = give.allot, arrived = give.arrived }

local ROUNDS = 20 -- of one SKU, each time the job comes by
local PAGES = 20 -- that one run looks through


-- ---- units that come late ------------------------------------------------------------------

local function allot_all(row)
  local total = 0
  for _ = 1, ROUNDS do
    local given, e = sql.transaction(function(tx)
      local n, why = give.allot(tx, row.variant_id, row.location_id)
      return n or nil, why
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
    local told, e = give.tell(tx, row.variant_id, row.location_id, why)
    if not told then return nil, e end
    return 0
  end)
end


local function is_passed(row)
  local until_ms = passed[row.variant_id]
  if until_ms and until_ms <= time.mono_ms() then passed[row.variant_id] = nil end
  return passed[row.variant_id] ~= nil
end


-- Where the next run goes on: so none of them waits for those before it, however many are blocked,
-- or changed by others each time it comes by.
local FIRST = { variant_id = ("\0"):rep(16), priority = 0, code = "" }
local after = FIRST


local function page(limit)
  local variant = sql.bytes(after.variant_id)
  return sql.query("SELECT b.variant_id, s.location_id, l.priority, l.code FROM backorders b"
    .. " JOIN stock s ON s.variant_id = b.variant_id AND s.on_hand > s.reserved JOIN locations l"
    .. " ON l.id = s.location_id AND l.enabled = 1 WHERE b.promised > 0 AND EXISTS (SELECT 1"
    .. " FROM reservations r WHERE r.variant_id = b.variant_id AND r.state = 'backordered')"
    .. " AND b.variant_id >= ? AND (b.variant_id > ? OR l.priority > ?"
    .. " OR l.priority = ? AND l.code > ?) ORDER BY b.variant_id, l.priority, l.code LIMIT ?",
    variant, variant, after.priority, after.priority, after.code, limit)
end


-- -> did it get some? | nil, err
local function try(row)
  local given, e = allot_all(row)
  if blocked.is(e) then given, e = pass_over(row, e) end
  if given then return given > 0 end
  if err.is(e, "busy") then return false end
  return nil, e
end


-- -> how many were tried, how many got some, what failed
local function try_some(rows, limit)
  local tried, n, failed = 0, 0, nil
  for _, row in ipairs(rows) do
    if tried == limit then return tried, n, failed end
    after = row
    if not is_passed(row) then
      local got, e = try(row)
      tried, n, failed = tried + 1, n + (got and 1 or 0), failed or e
    end
  end
  if not rows[limit] then after = FIRST end
  return tried, n, failed
end


--- One that fails keeps nobody else from getting his.
function allotment.run(limit)
  local left, n, failed = limit, 0, nil
  local began = after
  for _ = 1, PAGES do
    local rows, e = page(limit)
    if not rows then return nil, e end
    local tried, got, why = try_some(rows, left)
    left, n, failed = left - tried, n + got, failed or why
    if left == 0 or after == FIRST and began == FIRST then break end
    if after == FIRST then began = FIRST end
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


local function put_back(tx, rows, order_id)
  local refused = {}
  for _, row in ipairs(units.merged(rows)) do
    local ok, e
    if row.location_id then
      ok, e = tx:exec("UPDATE stock SET on_hand = on_hand + ?, version = version + 1"
        .. " WHERE variant_id = ? AND location_id = ?", row.quantity, sql.bytes(row.variant_id),
        sql.bytes(row.location_id))
    else
      ok, e = units.unpromise(tx, row, refused)
    end
    if not ok then return nil, e end
  end
  if #refused == 0 then return true end
  return blocked.put_right(tx, refused, order_id, { order_id = order_id })
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
    if ok then ok, e2 = give.recount(tx, order_bin, cart_bin, line) end
  end
  if ok then ok, e2 = stock_log.add(tx, events) end
  if ok then ok, e2 = put_back(tx, back, order_id) end
  if not ok then return nil, e2 end
  return true
end


return allotment
