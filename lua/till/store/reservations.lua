-- till/store/reservations - what carts hold, for a time.
--
--   hold(tx, cart_id, items, until_ms [, most_ms]) -> true value | nil, err(sold_out)     what it
--                                      held before is let go of where it is not the same
--   extend, extend_with, shorten, ends_at   as till.store.hold_time has them
--   release(tx, cart_id)
--   trim(tx, cart_id, items)           lets go of what is held besides
--   lock(tx, cart_id) -> rows | nil, err, let_go(tx, rows, state)     the same in two, of several
--                                      carts: all rows are locked before any of stock
--   expire(limit, within_ms) -> how many ended | nil, err      of till.store.reservation_end
--   HELD, unpack(packed) -> held       all that a cart holds, in one column
--   is_held(held, items) -> boolean    exactly these are held
--   missing(held, items) -> { variant id of a line -> units of it that are not there yet }
--
-- items and held as in till.store.stock; rows of `reservations` are locked before those of `stock`.
--
-- Whose time is over gives way when stock, or what may be promised, is short, if the job has not
-- come by yet: 100 at a time, the oldest first, until there is enough, and no more than are needed.
-- A cart that is being completed keeps what it has.
local carts = require "till.store.carts"
local db = require "till.store.db"
local ending = require "till.store.reservation_end"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local hold_time = require "till.store.hold_time"
local offers = require "till.store.offers"
local stock = require "till.store.stock"
local stock_log = require "till.store.stock_log"
local units = require "till.store.units"

local reservations = { extend = hold_time.extend, shorten = hold_time.shorten,
  ends_at = hold_time.ends_at, extend_with = hold_time.extend_with, lock = ending.lock,
  let_go = ending.let_go, release = ending.release, expire = ending.expire }

local BATCH = 100
local FROM, OVER, over_args = ending.FROM, ending.OVER, ending.over_args


-- ---- taking --------------------------------------------------------------------------------

-- What gives way: units that are there first, then such as are promised, for the limit of promises
-- may be reached by what nobody waits for any more.
local function chosen(rows, missing)
  local some = {}
  for _, is_there in ipairs { true, false } do
    for _, row in ipairs(rows) do
      if missing > 0 and (row.location_id ~= nil) == is_there then
        some[#some + 1], missing = row, missing - row.quantity
      end
    end
  end
  return some
end


-- Some units of a variant that others hold for too long, so many of them as are missing; where they
-- are of no use (their location is shut, or they are promised) it is asked again.
local function sweeper(tx, variant)
  return function(missing)
    local rows, e = tx:query(FROM:format "reservations_variant" .. "WHERE r.variant_id = ? AND "
      .. OVER .. " ORDER BY r.expires_at LIMIT ? FOR UPDATE SKIP LOCKED", sql.bytes(variant),
      over_args(BATCH))
    if not rows then return nil, e end
    local some = chosen(rows, missing)
    local ok, e2 = reservations.let_go(tx, some, "expired")
    if not ok then return nil, e2 end
    return #some
  end
end


local function is_ending(tx, variant)
  local row, e = tx:one("SELECT 1 AS yes FROM reservations r WHERE r.variant_id = ? AND " .. OVER
    .. " LIMIT 1", sql.bytes(variant), over_args())
  if row == nil then return nil, e end
  return row ~= false
end


-- The limit of promises may be reached by what is held for too long: the oldest gives way.
-- -> how many rows did | nil, err
local function end_a_promise(tx, variant)
  local rows, e = tx:query(FROM:format "reservations_variant" .. "WHERE r.variant_id = ?"
    .. " AND r.location_id IS NULL AND " .. OVER .. " ORDER BY r.expires_at LIMIT 1"
    .. " FOR UPDATE SKIP LOCKED", sql.bytes(variant), over_args())
  if not rows then return nil, e end
  local ok, e2 = reservations.let_go(tx, rows, "expired")
  if not ok then return nil, e2 end
  return #rows
end


-- As units.take. Where somebody else lets go of units just now (he has them locked) the transaction
-- runs again, as after a deadlock.
local function take(tx, variant, quantity)
  local sweep = sweeper(tx, variant)
  while true do
    local shares, e = units.take(tx, variant, quantity, sweep)
    if shares ~= false then return shares, e end
    local is_over_soon, e2 = is_ending(tx, variant)
    if not is_over_soon then return is_over_soon, e2 end
    local n, e3 = end_a_promise(tx, variant)
    if not n then return nil, e3 end
    if n == 0 then return nil, err.new("deadlock", "reservations of it are ending just now") end
  end
end


local function refuse(tx, item, variant)
  local left, e = offers.of_units(tx, variant)
  if not left then return nil, e end
  left = math.max(0, math.floor(left / (item.per_unit or 1)))
  local sku = item.bundle_sku or item.sku
  return nil, err.new("sold_out", left > 0 and ("only %d of %s are left"):format(left, sku)
    or ("%s is sold out"):format(sku), { sku = sku, available = left })
end


local function take_one(tx, cart_id, item, until_ms, since)
  local variant = id.bin("var", item.variant_id)
  local shares, e = take(tx, variant, item.quantity)
  if shares == false then return refuse(tx, item, variant) end
  if not shares then return nil, e end
  if shares.first then stock.remember_first(item.variant_id, shares.first) end
  local events = {}
  for i, share in ipairs(shares) do
    local row, e2 = stock.insert(tx, cart_id, item, share, db.at_ms(until_ms), since)
    if not row then return nil, e2 end
    events[i] = stock.reserved_event(row, cart_id)
  end
  return stock_log.add(tx, events)
end


-- Variant by variant: what was held of it goes, then what is wanted of it is taken.
local function hold_anew(tx, cart_id, rows, items, until_ms, most_ms)
  local steps, order = {}, {}
  local function step(variant)
    if not steps[variant] then
      steps[variant], order[#order + 1] = { rows = {}, items = {} }, variant
    end
    return steps[variant]
  end
  for _, row in ipairs(rows) do table.insert(step(row.variant_id).rows, row) end
  for _, item in ipairs(items) do
    table.insert(step(id.bin("var", item.variant_id)).items, item)
  end
  table.sort(order)
  for _, variant in ipairs(order) do
    local ok, e = reservations.let_go(tx, steps[variant].rows, "released")
    local ends_ms, since = hold_time.bounded(steps[variant].rows, until_ms, most_ms)
    for _, item in ipairs(steps[variant].items) do
      if ok then ok, e = take_one(tx, cart_id, item, ends_ms, since) end
    end
    if not ok then return nil, e end
  end
  return true
end


function reservations.hold(tx, cart_id, items, until_ms, most_ms)
  local rows, e = reservations.lock(tx, cart_id)
  if not rows then return nil, e end
  if reservations.is_held(rows, items) and not hold_time.is_over(rows, most_ms) then
    return hold_time.extend_in(tx, cart_id, until_ms, most_ms)
  end
  local noted, e2 = carts.holds(tx, cart_id)
  if not noted then return nil, e2 end
  return hold_anew(tx, cart_id, rows, items, until_ms, most_ms)
end


-- ---- what is held --------------------------------------------------------------------------

-- 4 * 16 bytes of ids, zeros for none, and two numbers of 19 digits. They are sorted in Lua: an
-- ORDER BY inside costs the database five times the whole.
local BYTES = 102
local NONE = ("\0"):rep(16)
reservations.HELD = "(SELECT GROUP_CONCAT(id, variant_id, COALESCE(location_id, REPEAT(x'00', 16)),"
  .. " COALESCE(bundle_id, REPEAT(x'00', 16)), LPAD(quantity, 19, '0'),"
  .. " LPAD(per_unit, 19, '0') SEPARATOR '')"
  .. " FROM reservations WHERE cart_id = ? AND state = 'held')"


local function given(bytes)
  return bytes ~= NONE and bytes or nil
end


function reservations.unpack(packed)
  local out = {}
  for at = 1, #packed, BYTES do
    out[#out + 1] = { id = packed:sub(at, at + 15), variant_id = packed:sub(at + 16, at + 31),
      location_id = given(packed:sub(at + 32, at + 47)),
      bundle_id = given(packed:sub(at + 48, at + 63)),
      quantity = tonumber(packed:sub(at + 64, at + 82)),
      per_unit = tonumber(packed:sub(at + 83, at + 101)) }
  end
  table.sort(out, function(a, b) return a.variant_id < b.variant_id end)
  return out
end


-- Which units these are: a variant bought by itself is not one that is part of a bundle.
local function key_of(variant, bundle)
  return bundle and variant .. bundle or variant
end


local function key_of_row(row)
  return key_of(id.text("var", row.variant_id), row.bundle_id and id.text("var", row.bundle_id))
end


-- A row says how many of it are in one bundle, for what comes back is counted by that: where the
-- bundle has other parts by now, as many units are held for other ones.
function reservations.is_held(held, items)
  local left, per_unit, n = {}, {}, 0
  for _, row in ipairs(held) do
    local key, each = key_of_row(row), row.per_unit or 1
    if not left[key] then n, per_unit[key] = n + 1, each end
    if per_unit[key] ~= each then return false end
    left[key] = (left[key] or 0) + row.quantity
  end
  for _, item in ipairs(items) do
    local key = key_of(item.variant_id, item.bundle_id)
    if left[key] ~= item.quantity or per_unit[key] ~= (item.per_unit or 1) then return false end
  end
  return n == #items
end


-- How many units of each row are not wanted. Those that are there stay before those that are
-- promised; what stays is of the bundle as it is now.
local function surplus(rows, items)
  local wanted, per_unit, out = {}, {}, {}
  for _, item in ipairs(items) do
    local key = key_of(item.variant_id, item.bundle_id)
    wanted[key], per_unit[key] = (wanted[key] or 0) + item.quantity, item.per_unit or 1
  end
  local function add(row)
    local key = key_of_row(row)
    local stays = math.min(row.quantity, wanted[key] or 0)
    wanted[key] = (wanted[key] or 0) - stays
    if stays < row.quantity or per_unit[key] ~= row.per_unit then
      out[#out + 1] = { row = row, stays = stays, per_unit = per_unit[key] }
    end
  end
  for _, row in ipairs(rows) do if row.location_id then add(row) end end
  for _, row in ipairs(rows) do if not row.location_id then add(row) end end
  return out
end


function reservations.trim(tx, cart_id, items)
  local rows, e = reservations.lock(tx, cart_id)
  if not rows then return nil, e end
  local whole, all = {}, {}
  for _, part in ipairs(surplus(rows, items)) do
    local row = part.row
    if part.stays < row.quantity then all[#all + 1] = row end
    if part.stays == 0 then
      whole[#whole + 1] = row
    else
      local done, e2 = tx:exec("UPDATE reservations SET quantity = ?, per_unit = ? WHERE id = ?",
        part.stays, part.per_unit, sql.bytes(row.id))
      if not done then return nil, e2 end
      row.quantity = row.quantity - part.stays
    end
  end
  local ok, e3 = ending.set_state(tx, whole, "released")
  if not ok then return nil, e3 end
  return ending.give_back(tx, all, "released")
end


--- Of a bundle as many as the part lacks of which most is missing.
function reservations.missing(held, items)
  local lacks, out = {}, {}
  for _, row in ipairs(held) do
    if not row.location_id then
      local key = key_of_row(row)
      lacks[key] = (lacks[key] or 0) + row.quantity
    end
  end
  if not next(lacks) then return out end
  for _, item in ipairs(items) do
    local n = lacks[key_of(item.variant_id, item.bundle_id)]
    local line = item.bundle_id or item.variant_id
    if n then out[line] = math.max(out[line] or 0, math.ceil(n / (item.per_unit or 1))) end
  end
  return out
end


return reservations
