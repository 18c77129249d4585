-- till/store/queue - the outbox as jobs workers see it: which types are due, and slots of those
-- that only so many may be at.
--
--   due() -> list of { type, waited_s } | nil, err     one step a type, however many events
--   take_slot(kind, limit, claim, lease_ms)  -> true | false: all are held | nil, err
--   extend_slots(claim, lease_ms) -> true | false: it held none any more | nil, err
--   free_slots(claim) -> true | nil, err
--   unpublished(tx, events by id, claim) -> list of { id, created_at }: those of them that are
--                        still ours and were not handed on, locked | nil, err
--   set_published(tx, ids) -> true | nil, err
--
-- A claim holds its slots as it holds events: until its lease is over. Times are the database's.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local queue = {}


function queue.due()
  return sql.query("SELECT type, TIMESTAMPDIFF(MICROSECOND, MIN(available_at), NOW(3)) / 1e6"
    .. " AS waited_s FROM outbox WHERE state = 'pending' GROUP BY type"
    .. " HAVING MIN(available_at) <= NOW(3)")
end


local function take(kind, limit, claim, lease_ms)
  local done, e = sql.exec("UPDATE job_slots SET claim = ?, held_until = NOW(3) + INTERVAL ?"
    .. " MICROSECOND WHERE kind = ? AND slot <= ? AND held_until <= NOW(3) ORDER BY slot LIMIT 1",
    claim, lease_ms * 1000, kind, limit)
  if not done then return nil, e end
  return done.affected == 1
end


local function make(kind, limit)
  local row, e = sql.one("SELECT COUNT(*) AS n FROM job_slots WHERE kind = ? AND slot <= ?", kind,
    limit)
  if not row then return nil, e end
  if row.n == limit then return false end
  for slot = 1, limit do
    local made, e2 = sql.exec("INSERT IGNORE INTO job_slots (kind, slot) VALUES (?, ?)", kind, slot)
    if not made then return nil, e2 end
  end
  return true
end


function queue.take_slot(kind, limit, claim, lease_ms)
  local taken, e = take(kind, limit, claim, lease_ms)
  if taken ~= false then return taken, e end
  local made, e2 = make(kind, limit)
  if not made then return made, e2 end
  return take(kind, limit, claim, lease_ms)
end


function queue.extend_slots(claim, lease_ms)
  -- also twice within a millisecond, for what has not changed counts as nobody's
  local done, e = sql.exec("UPDATE job_slots SET held_until ="
    .. " IF(held_until = NOW(3) + INTERVAL ? MICROSECOND, held_until + INTERVAL 1000 MICROSECOND,"
    .. " NOW(3) + INTERVAL ? MICROSECOND) WHERE claim = ?", lease_ms * 1000, lease_ms * 1000, claim)
  if not done then return nil, e end
  return done.affected > 0
end


function queue.free_slots(claim)
  local done, e = sql.exec("UPDATE job_slots SET claim = 0, held_until = NOW(3) WHERE claim = ?",
    claim)
  if not done then return nil, e end
  return true
end


local function marks_of(ids)
  ids = db.padded(ids)
  return sql.marks(#ids), ids
end


function queue.unpublished(tx, events, claim)
  local ids = {}
  for event_id in pairs(events) do ids[#ids + 1] = event_id end
  table.sort(ids)
  local marks, args = marks_of(ids)
  args[#args + 1] = claim
  return tx:query("SELECT id, created_at FROM outbox WHERE id IN (" .. marks .. ") AND claim = ?"
    .. " AND state = 'pending' AND NOT published ORDER BY id FOR UPDATE", unpack(args))
end


function queue.set_published(tx, ids)
  local marks, args = marks_of(ids)
  local done, e = tx:exec("UPDATE outbox SET published = TRUE WHERE id IN (" .. marks .. ")",
    unpack(args))
  if not done then return nil, e end
  return true
end


return queue
