-- till/store/units - units of variants at locations, and those that are promised before they are
-- there: taken and given back statement by statement (till.store.stock says in which order).
--
--   merged(rows) -> a row for each variant and location, in the order in which they are locked
--   take(tx, variant, quantity, sweep) -> { { location =, quantity = }, … } | false | nil, err
--       false: so many are not to be had; location nil: promised; shares.first: the location,
--       where it is the first that has any and gave all of it. sweep(n) makes up to n units
--       give way that others hold, or were promised, for too long -> how many rows did, 0: there
--       are none | nil, err
--   let_go(tx, rows [, refused])   gives back what rows hold; refused: a list, to which each row is
--       added that contradicts what is there, { row =, why = err }. Without it the first one fails
--   unpromise(tx, row [, refused])    promised units are given up, or are there now
--
-- Variants, locations and rows in bytes, as in till.store.stock. The caller logs the events.
local blocked = require "till.store.stock_blocked"
local err = require "till.util.err"
local sql = require "till.prim.sql"

local units = {}


-- Ids sort as their bytes do. What has no location comes last.
local function comes_before(a, b)
  if a.variant_id ~= b.variant_id then return a.variant_id < b.variant_id end
  return (a.location_id or "\255") < (b.location_id or "\255")
end


function units.merged(rows)
  local out, known = {}, {}
  for _, row in ipairs(rows) do
    local key = row.variant_id .. (row.location_id or "")
    local sum = known[key]
    if not sum then
      sum = { variant_id = row.variant_id, location_id = row.location_id, quantity = 0 }
      known[key], out[#out + 1] = sum, sum
    end
    sum.quantity = sum.quantity + row.quantity
  end
  table.sort(out, comes_before)
  return out
end


-- Rows of the variant that may be taken from, by priority. All of them are locked, in the order of
-- their locations; the table of locations is not.
local function places(tx, variant_bin)
  local rows, e = tx:query("SELECT s.location_id, s.on_hand - s.reserved AS free,"
    .. " (SELECT l.priority FROM locations l WHERE l.id = s.location_id AND l.enabled = 1)"
    .. " AS priority, (SELECT l.code FROM locations l WHERE l.id = s.location_id) AS code"
    .. " FROM stock s WHERE s.variant_id = ? ORDER BY s.location_id FOR UPDATE", variant_bin)
  if not rows then return nil, e end
  local out, free = {}, 0
  for _, row in ipairs(rows) do
    if row.priority and row.free > 0 then out[#out + 1], free = row, free + row.free end
  end
  table.sort(out, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    return a.code < b.code
  end)
  return out, free
end


-- -> shares, and what is missing
local function divide(rows, quantity)
  for _, row in ipairs(rows) do
    if row.free >= quantity then
      return { { location = row.location_id, quantity = quantity } }, 0
    end
  end
  local out = {}
  for _, row in ipairs(rows) do
    local n = math.min(row.free, quantity)
    if n > 0 then out[#out + 1] = { location = row.location_id, quantity = n } end
    quantity = quantity - n
  end
  return out, quantity
end


local function take_at(tx, variant_bin, share)
  local done, e = tx:exec("UPDATE stock SET reserved = reserved + ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ? AND on_hand - reserved >= ?", share.quantity,
    variant_bin, sql.bytes(share.location), share.quantity)
  if not done then return nil, e end
  if done.affected == 1 then return true end
  return nil, err.new("internal", "a row of stock has changed under its lock")
end


-- The limit is a condition of the statement that raises the number, and a CHECK of its row.
local function promise(tx, variant_bin, quantity)
  local done, e = tx:exec("UPDATE backorders SET promised = promised + ?, version = version + 1"
    .. " WHERE variant_id = ? AND policy <> 'deny' AND promised + ? <= unit_limit", quantity,
    variant_bin, quantity)
  if not done then return nil, e end
  return done.affected == 1
end


function units.take(tx, variant, quantity, sweep)
  local bin = sql.bytes(variant)
  local rows, free = places(tx, bin)
  while rows and free < quantity do
    local swept, e = sweep(quantity - free)
    if not swept then return nil, e end
    if swept == 0 then break end
    rows, free = places(tx, bin)
  end
  if not rows then return nil, free end
  local shares, missing = divide(rows, quantity)
  if missing > 0 then
    local promised, e = promise(tx, bin, missing)
    if not promised then return promised, e end
  end
  for _, share in ipairs(shares) do
    local ok, e = take_at(tx, bin, share)
    if not ok then return nil, e end
  end
  if missing > 0 then
    shares[#shares + 1] = { quantity = missing }
  elseif #shares == 1 and shares[1].location == rows[1].location_id then
    shares.first = shares[1].location
  end
  return shares
end


-- One statement for up to 128 rows, so that none of them is locked for longer than it and COMMIT
-- take. Rows of no variant fill it up: lists of any length make few texts to prepare. Without their
-- type bytes are a BLOB, for which MariaDB makes the list a file, on a disk that may be full; and
-- without the index it looks at, and locks, all rows of a small table.
local MOST_ROWS = 128
local NOTHING = ("\0"):rep(16)
local BIN = "CAST(? AS BINARY(16))"
local GIVEN = "UPDATE (SELECT " .. BIN .. " AS variant_id, " .. BIN .. " AS location_id,"
  .. " ? AS quantity"
local MORE = " UNION ALL SELECT " .. BIN .. ", " .. BIN .. ", ?"


local function let_go_some(tx, rows)
  local size = 1
  while size < #rows do size = size * 2 end
  local args = {}
  for i = 1, size do
    local row = rows[i] or { variant_id = NOTHING, location_id = NOTHING, quantity = 0 }
    local n = #args
    args[n + 1], args[n + 2] = sql.bytes(row.variant_id), sql.bytes(row.location_id)
    args[n + 3] = row.quantity
  end
  return tx:exec(GIVEN .. MORE:rep(size - 1) .. ") d STRAIGHT_JOIN stock s"
    .. " FORCE INDEX (PRIMARY) ON s.variant_id = d.variant_id AND s.location_id = d.location_id"
    .. " SET s.reserved = s.reserved - d.quantity, s.version = s.version + 1", unpack(args))
end


-- A statement that a table refuses has done nothing: it is halved down to the row.
local function let_go_or_halve(tx, rows, refused)
  local ok, e = let_go_some(tx, rows)
  if ok or not refused or not blocked.contradicts(e) then return ok, e end
  if #rows == 1 then
    refused[#refused + 1] = { row = rows[1], why = e }
    return true
  end
  local half = math.floor(#rows / 2)
  ok, e = let_go_or_halve(tx, { unpack(rows, 1, half) }, refused)
  if not ok then return nil, e end
  return let_go_or_halve(tx, { unpack(rows, half + 1) }, refused)
end


function units.unpromise(tx, row, refused)
  local ok, e = tx:exec("UPDATE backorders SET promised = promised - ?, version = version + 1"
    .. " WHERE variant_id = ?", row.quantity, sql.bytes(row.variant_id))
  if ok or not refused or not blocked.contradicts(e) then return ok, e end
  refused[#refused + 1] = { row = row, why = e }
  return true
end


--- In the order of units.merged: rows of stock that follow upon each other go together.
function units.let_go(tx, rows, refused)
  local run, ok, e = {}, true, nil
  for _, row in ipairs(units.merged(rows)) do
    if row.location_id then run[#run + 1] = row end
    if #run == MOST_ROWS or not row.location_id and #run > 0 then
      ok, e = let_go_or_halve(tx, run, refused)
      run = {}
    end
    if ok and not row.location_id then ok, e = units.unpromise(tx, row, refused) end
    if not ok then return nil, e end
  end
  if #run == 0 then return true end
  return let_go_or_halve(tx, run, refused)
end


return units
