-- till/store/stock_sums - the log of one row of stock, added up in statements that end in time,
-- however long the log is.
--
--   add(place, from, before [, tx [, also, value]]) -> { on_hand, reserved, events, said }
--                      | nil, err     of events from one time and before the other, in ms; said:
--                      how many of them say how many there are; also: a condition, its value
--   at(place, before [, tx [, reads_later]]) -> { on_hand, reserved [, read_to, said] }
--                      | false: there was nothing yet | nil, err     from the checkpoint or the
--                      log's beginning, whichever is nearer; from a checkpoint that is later also
--                      where the caller reads what is later anyhow (reads_later). Then read_to says
--                      how far it went, and said is of those events
--   catch_up(keys, before, most) -> steps | nil, err    checkpoints of rows that have more than a
--                      step of events since move on, step by step, by `most` steps at the most
--   SAID               SQL: does an event say how many there are?
--
-- A place is { variant_id, location_id }; a key one of till.store.stock_compare. A checkpoint is
-- written after each step: who comes after one that was stopped goes on from there. `before` of
-- catch_up has to be so long ago that no transaction is open that could add an event before it.
local db = require "till.store.db"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

-- step_events: a statement reads so many events at the most, and those of the same millisecond
local sums = { step_events = 10000,
  SAID = "(type = 'counted' OR reference LIKE 'check:%')" }

local LEAST = 100 -- a step that takes too long is halved down to it


local function of(place)
  return sql.bytes(place.variant_id), sql.bytes(place.location_id)
end


-- ---- steps -----------------------------------------------------------------------------------

local OF_PLACE = " FROM stock_events WHERE variant_id = ? AND location_id = ? AND at >= ?"
  .. " AND at < ?"


-- The index has it all: no event is read. In its order, too, which is not asked for: MariaDB would
-- read it from the row's first event on then. Any time would be a right end of a step.
-- -> where the step ends, is there more behind it?
local function step_end(place, from, before, size, tx)
  local variant, location = of(place)
  local row, e = db.on(tx):one("SELECT at" .. OF_PLACE .. " LIMIT 1 OFFSET ?", variant,
    location, db.at_ms(from), db.at_ms(before), size)
  if row == nil then return nil, e end
  if not row then return before, false end
  return math.max(time.parse(row.at), from + 1), true
end


local function between(place, from, before, tx, also, value)
  local variant, location = of(place)
  local text = "SELECT CAST(COALESCE(SUM(on_hand_delta), 0) AS SIGNED) AS on_hand,"
    .. " CAST(COALESCE(SUM(reserved_delta), 0) AS SIGNED) AS reserved, COUNT(*) AS events,"
    .. " CAST(COALESCE(SUM(" .. sums.SAID .. "), 0) AS SIGNED) AS said" .. OF_PLACE
  if not also then
    return db.on(tx):one(text, variant, location, db.at_ms(from), db.at_ms(before))
  end
  return db.on(tx):one(text .. " AND " .. also, variant, location, db.at_ms(from),
    db.at_ms(before), value)
end


function sums.add(place, from, before, tx, also, value)
  local out = { on_hand = 0, reserved = 0, events = 0, said = 0 }
  while from < before do
    local stop, e = step_end(place, from, before, sums.step_events, tx)
    if not stop then return nil, e end
    local part, e2 = between(place, from, stop, tx, also, value)
    if not part then return nil, e2 end
    for name, n in pairs(part) do out[name] = out[name] + n end
    from = stop
  end
  return out
end


-- ---- checkpoints -----------------------------------------------------------------------------

local function keep(key)
  local variant, location = of(key)
  return sql.exec("INSERT INTO stock_checkpoints (variant_id, location_id, at, on_hand, reserved)"
    .. " VALUES (?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE at = VALUES(at),"
    .. " on_hand = VALUES(on_hand), reserved = VALUES(reserved)", variant, location,
    db.at(key.at), key.on_hand, key.reserved)
end


-- -> a step done, false: what is left is less than one | nil, err
local function step(key, before, size)
  local from = key.at and time.parse(key.at) or 0
  local stop, is_more = step_end(key, from, before, size)
  if not stop then return nil, is_more end
  if not is_more then return false end
  local part, e = between(key, from, stop)
  if not part then return nil, e end
  key.at, key.on_hand, key.reserved = time.rfc3339(stop), key.on_hand + part.on_hand,
    key.reserved + part.reserved
  local ok, e2 = keep(key)
  return ok and true, e2
end


-- What no step could be made of in time is left to a later pass.
local function halved_step(key, before)
  local size = sums.step_events
  while true do
    local done, e = step(key, before, size)
    if done ~= nil then return done end
    if e.code ~= "timeout" then return nil, e end
    if size <= LEAST then return false end
    size = math.max(LEAST, math.floor(size / 4))
  end
end


function sums.catch_up(keys, before, most)
  local n = 0
  for _, key in ipairs(keys) do
    while n < most do
      local done, e = halved_step(key, before)
      if done == nil then return nil, e end
      if not done then break end
      n = n + 1
    end
  end
  return n
end


-- ---- a time ----------------------------------------------------------------------------------

local function checkpoint(place, tx)
  local variant, location = of(place)
  return db.on(tx):one("SELECT at, on_hand, reserved FROM stock_checkpoints WHERE variant_id = ?"
    .. " AND location_id = ?", variant, location)
end


-- -> ms | false | nil, err
local function first(place, tx)
  local variant, location = of(place)
  local row, e = db.on(tx):one("SELECT at FROM stock_events WHERE variant_id = ?"
    .. " AND location_id = ? ORDER BY at LIMIT 1", variant, location)
  return row and time.parse(row.at) or row, e
end


function sums.at(place, before, tx, reads_later)
  local began, e = first(place, tx)
  if began == nil then return nil, e end
  if not began or began >= before then return false end
  local known, e2 = checkpoint(place, tx)
  if known == nil then return nil, e2 end
  local at = known and time.parse(known.at)
  local is_far = known and before - began < math.abs(before - at)
  if not known or is_far and not (reads_later and at > before) then
    local all, e3 = sums.add(place, began, before, tx)
    return all and { on_hand = all.on_hand, reserved = all.reserved }, e3
  end
  local sign = at <= before and 1 or -1
  local part, e4 = sums.add(place, math.min(at, before), math.max(at, before), tx)
  if not part then return nil, e4 end
  return { on_hand = known.on_hand + sign * part.on_hand, said = sign < 0 and part.said or nil,
    reserved = known.reserved + sign * part.reserved, read_to = sign < 0 and at or nil }
end


return sums
