-- till/store/schedules - when jobs that come again and again are due, and how their last run went.
--
--   put(name, text, next_at_ms, following_ms)   there from now on; a time beyond `following`, which
--                                 a clock that was wrong has left, becomes `next`
--   keep_only(names)              the others are nobody's any more
--   due() -> names, the longest due first; those of which a run is still to be done are left out
--   lock(tx, name)                -> row | false: somebody is at it, or it is not there
--   is_queued(tx, name)           -> is a run of it still to be done?
--   queued(tx, name, next_at_ms | nil)   a run was appended
--   started(name), ended(name, reason | nil)
--   set_paused(tx, name, who | nil) -> true | false
--   list() -> rows; get(name) -> row | false
--
-- The runs are events of the aggregate "schedule:NAME".
local db = require "till.store.db"
local sql = require "till.prim.sql"

local schedules = {}

local COLUMNS = "name, schedule, next_at, paused_by, state, queued_at, started_at, ended_at, runs,"
  .. " failures, last_error"


local function exec(tx, ...)
  local done, e = db.on(tx):exec(...)
  if not done then return nil, e end
  return done.affected > 0
end


function schedules.put(name, text, next_at_ms, following_ms)
  local at = db.at_ms(next_at_ms)
  return exec(nil, "INSERT INTO job_schedules (name, schedule, next_at) VALUES (?, ?, ?)"
    .. " ON DUPLICATE KEY UPDATE next_at = IF(schedule = VALUES(schedule) AND is_present,"
    .. " IF(next_at > ?, ?, next_at), ?), schedule = VALUES(schedule), is_present = TRUE", name,
    text, at, db.at_ms(following_ms), at, at)
end


function schedules.keep_only(names)
  local rows, e = sql.query("SELECT name FROM job_schedules WHERE is_present")
  if not rows then return nil, e end
  local wanted = {}
  for _, name in ipairs(names) do wanted[name] = true end
  for _, row in ipairs(rows) do
    if not wanted[row.name] then
      local ok, e2 = exec(nil, "UPDATE job_schedules SET is_present = FALSE WHERE name = ?",
        row.name)
      if ok == nil then return nil, e2 end
    end
  end
  return true
end


function schedules.due()
  local rows, e = sql.query("SELECT name FROM job_schedules WHERE next_at <= ? AND is_present"
    .. " AND paused_by IS NULL AND NOT EXISTS (SELECT 1 FROM outbox FORCE INDEX (outbox_order)"
    .. " WHERE aggregate = CONCAT('schedule:', name) AND state = 'pending') ORDER BY next_at",
    db.now())
  if not rows then return nil, e end
  local out = {}
  for i, row in ipairs(rows) do out[i] = row.name end
  return out
end


function schedules.lock(tx, name)
  return tx:one("SELECT " .. COLUMNS .. ", next_at <= ? AND is_present AND paused_by IS NULL"
    .. " AS is_due FROM job_schedules WHERE name = ? FOR UPDATE SKIP LOCKED", db.now(), name)
end


function schedules.is_queued(tx, name)
  local row, e = tx:one("SELECT EXISTS (SELECT 1 FROM outbox FORCE INDEX (outbox_order)"
    .. " WHERE aggregate = ? AND state = 'pending') AS there", "schedule:" .. name)
  if not row then return nil, e end
  return row.there == 1
end


function schedules.queued(tx, name, next_at_ms)
  return exec(tx, "UPDATE job_schedules SET state = 'queued', queued_at = ?,"
    .. " next_at = COALESCE(?, next_at) WHERE name = ?", db.now(), db.at_ms(next_at_ms), name)
end


function schedules.started(name)
  return exec(nil, "UPDATE job_schedules SET state = 'running', started_at = ? WHERE name = ?",
    db.now(), name)
end


function schedules.ended(name, reason)
  return exec(nil, "UPDATE job_schedules SET state = ?, ended_at = ?, runs = runs + 1,"
    .. " failures = failures + ?, last_error = LEFT(?, 500) WHERE name = ?",
    reason and "failed" or "idle", db.now(), reason and 1 or 0, reason, name)
end


function schedules.set_paused(tx, name, who)
  return exec(tx, "UPDATE job_schedules SET paused_by = ? WHERE name = ?", who or sql.null, name)
end


function schedules.list()
  return sql.query("SELECT " .. COLUMNS .. " FROM job_schedules WHERE is_present ORDER BY name")
end


function schedules.get(name, tx)
  return db.on(tx):one("SELECT " .. COLUMNS .. " FROM job_schedules WHERE name = ?"
    .. " AND is_present", name)
end


return schedules
