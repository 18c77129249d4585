-- till/store/stock_sums - the log of one row of stock, added up in statements that end in time,
-- however long the log is.
--
--   add(place, from, before [, tx [, also, value]]) -> { on_hand, reserved, events, said }
--                      | nil, err     of events from one time and before the other, in ms; said:
--                      how many of them say how many there are; also: a condition, its value
--   at(place, before [, tx [, reads_later]]) -> { on_hand, reserved [, read_to, said] }
--                      | false: there was nothing yet | nil, err     from the checkpoint before or
--                      the one after it, whichever is nearer; from the latter also where the caller
--                      reads what is later anyhow (reads_later). Then read_to says how far it went,
--                      and said is of those events
--   keep(key, before) -> true | nil, err        a checkpoint there
--   catch_up(keys, before, most) -> steps | nil, err    checkpoints of rows that have more than a
--                      step of events since move on, step by step, by `most` steps at the most
--   forget(place [, tx])      all its checkpoints
--   SAID               SQL: does an event say how many there are?
--
-- A place is { variant_id, location_id }, without the latter what is promised of the variant; a key
-- one of till.store.stock_compare. The newest checkpoint of a place moves on, and one stays behind
-- every keep_events: so what is added up for a time long ago is as little as for one just now. One
-- is written after each step: who comes after one that was stopped goes on from there. `before` has
-- to be so long ago that no transaction is open that could add an event before it.
local db = require "till.store.db"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

-- step_events: a statement reads so many events at the most, and those of the same millisecond
-- keep_events: after so many a checkpoint stays
local sums = { step_events = 10000, keep_events = 50000,
  SAID = "(type = 'counted' OR reference LIKE 'check:%')" }

local LEAST = 100 -- a step that takes too long is halved down to it
local NOWHERE = ("\0"):rep(16) -- the place of a checkpoint of promises


local function of(place)
  return sql.bytes(place.variant_id), place.location_id and sql.bytes(place.location_id) or sql.null
end


local function of_checkpoint(place)
  return sql.bytes(place.variant_id), sql.bytes(place.location_id or NOWHERE)
end


-- ---- steps -----------------------------------------------------------------------------------

local OF_PLACE = " FROM stock_events WHERE variant_id = ? AND location_id <=> ? AND at >= ?"
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

local function from_of(key)
  return key.at and time.parse(key.at) or 0
end


-- Written before the one that it goes on from is taken away: who dies in between leaves both. That
-- one stays where enough events lead to it.
local function move(key, at_ms, part)
  local variant, location = of_checkpoint(key)
  local stays = key.at == nil or key.events >= sums.keep_events
  local next_one = { at = time.rfc3339(at_ms), on_hand = key.on_hand + part.on_hand,
    reserved = key.reserved + part.reserved, events = part.events + (stays and 0 or key.events) }
  local ok, e = sql.exec("INSERT INTO stock_checkpoints (variant_id, location_id, at, on_hand,"
    .. " reserved, events) VALUES (?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE"
    .. " on_hand = VALUES(on_hand), reserved = VALUES(reserved), events = VALUES(events)", variant,
    location, db.at_ms(at_ms), next_one.on_hand, next_one.reserved, next_one.events)
  if ok and not stays then
    ok, e = sql.exec("DELETE FROM stock_checkpoints WHERE variant_id = ? AND location_id = ?"
      .. " AND at = ?", variant, location, db.at(key.at))
  end
  if not ok then return nil, e end
  for name, value in pairs(next_one) do key[name] = value end
  return true
end


function sums.keep(key, before)
  local from = from_of(key)
  if before <= from then return true end
  local part, e = between(key, from, before)
  if not part then return nil, e end
  return move(key, before, part)
end


function sums.forget(place, tx)
  return db.on(tx):exec("DELETE FROM stock_checkpoints WHERE variant_id = ? AND location_id = ?",
    of_checkpoint(place))
end


-- -> a step done, false: what is left is less than one | nil, err
local function step(key, before, size)
  local from = from_of(key)
  local stop, is_more = step_end(key, from, before, size)
  if not stop then return nil, is_more end
  if not is_more then return false end
  local part, e = between(key, from, stop)
  if not part then return nil, e end
  return move(key, stop, part)
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

-- -> the last checkpoint up to then, the first one behind it; each may be nil | nil, nil, err
local function around(place, before, tx)
  local variant, location = of_checkpoint(place)
  local one = "(SELECT at, on_hand, reserved FROM stock_checkpoints WHERE variant_id = ?"
    .. " AND location_id = ? AND at %s ? ORDER BY at %s LIMIT 1)"
  local at = db.at_ms(before)
  local rows, e = db.on(tx):query(one:format("<=", "DESC") .. " UNION ALL "
    .. one:format(">", "ASC"), variant, location, at, variant, location, at)
  if not rows then return nil, nil, e end
  local earlier, later
  for _, row in ipairs(rows) do
    row.ms = time.parse(row.at)
    if row.ms <= before then earlier = row else later = row end
  end
  return earlier, later
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
  local earlier, later, e2 = around(place, before, tx)
  if e2 then return nil, e2 end
  earlier = earlier or { ms = began, on_hand = 0, reserved = 0 }
  local goes_back = later and (reads_later or later.ms - before < before - earlier.ms)
  local known, sign = goes_back and later or earlier, goes_back and -1 or 1
  local part, e3 = sums.add(place, math.min(known.ms, before), math.max(known.ms, before), tx)
  if not part then return nil, e3 end
  return { on_hand = known.on_hand + sign * part.on_hand, said = goes_back and part.said or nil,
    reserved = known.reserved + sign * part.reserved, read_to = goes_back and known.ms or nil }
end


return sums
