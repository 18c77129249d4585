-- till/store/sagas - where a flow of several steps stands. One row for each flow and aggregate.
--
--   begin(name, aggregate, data, until_ms, anew [, claim]) -> saga, claimed by us | false: somebody
--                           is at it, or was since it had this claim
--   begin_with(script, name, aggregate, data, { step =, until_ms = }) -> saga    with the script,
--                           and its first steps are; its id is @till_saga then. Refused where
--                           there is one, however it ended
--   save(saga, fields)      step, data, state, error, next_at, anew (it turns back); false when it
--                           is done already or the claim was lost
--   tries(saga), since(saga)   as they are at the step that it is at now
--   was_slow(saga)          by whom it was taken over from: he did not drop it, so that is no try
--   finish(script, saga, steps)   done, with the script; refused (TAKEN) where the claim was lost
--   at_once(script, name, aggregate, steps)   done without ever having run; refused (TAKEN) where
--                           one of them runs or waits
--   find(name, aggregate)   -> saga | false
--   stuck(limit)            running ones that were dropped, waiting ones whose time has come
--   enqueue(tx, name, aggregate, data, after_ms)   for whoever runs it first; a jobs worker does
--                           when the time is over
--   note(saga, type, actor, data [, tx])   a line of its history
--   IN_DOUBT                a condition of rows `s`, is_in_doubt(saga): it waits for an outcome, is
--                           parked with it, or is looking for it once more
--   list(opts), unfinished(limit), get(id [, tx]), lock(tx, id), history(id)   for staff
--   release(tx, saga)       a parked one goes on: it is due, with its tries and its time anew
--   settle(tx, saga, state) a parked one is over: done or undone
--   park(tx, name, aggregate, data, error)    one that is done is not: parked, from its first step
--
-- A parked one is nobody's: neither begin nor stuck gives it, until it is released. `tries` counts
-- runs that were due and left it at the same step, `stuck_since` is when the first of them ended:
-- both begin anew with the next step, and where it turns back. The way back counts as one step, for
-- whoever resumes it undoes again what was undone.
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local sagas = {}

local COLUMNS = "id, name, aggregate, state, step, data, claim, claimed_until, attempts, error,"
  .. " next_at, tries, stuck_since, parked_at, created_at, updated_at"


-- `counted` is the step that tries and stuck_since were counted at; nil where they begin anew. A
-- step that is put back, for its transaction failed, has them again.
local function to_saga(row)
  row.data = db.json(row.data) or {}
  row.counted = row.step
  return row
end


local function is_counted(saga)
  return saga.counted ~= nil and (saga.data.undoing ~= nil or saga.step <= saga.counted)
end


function sagas.tries(saga)
  return is_counted(saga) and saga.tries or 0
end


function sagas.since(saga)
  return is_counted(saga) and saga.stuck_since or nil
end


function sagas.find(name, aggregate, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM sagas WHERE name = ?"
    .. " AND aggregate = ?", name, aggregate)
  if not row then return row, e end
  return to_saga(row)
end


-- One that goes back (till.flow.saga) does so to its end before anything begins anew.
local IS_ANEW = "(? AND NOT JSON_EXISTS(data, '$.undoing') OR state IN ('undone', 'failed'))"


-- Columns are assigned from left to right: `state` last, what depends on it still sees the old one.
local function take_over(name, aggregate, text, until_ms, anew, claim)
  local fresh = anew and 1 or 0
  local done, e = sql.exec("UPDATE sagas SET claim = GREATEST(claim + 1, ?), claimed_until = ?,"
    .. " step = IF(" .. IS_ANEW .. ", 0, step), data = IF(" .. IS_ANEW .. ", ?, data),"
    .. " tries = IF(" .. IS_ANEW .. ", 0,"
    .. " tries + (state = 'running' OR COALESCE(next_at, ?) <= ?)),"
    .. " stuck_since = IF(" .. IS_ANEW .. ", NULL, stuck_since),"
    .. " state = 'running', attempts = attempts + 1, updated_at = ?"
    .. " WHERE name = ? AND aggregate = ? AND state NOT IN ('done', 'parked')"
    .. " AND (claimed_until IS NULL OR claimed_until < ?) AND claim = COALESCE(?, claim)",
    time.now_ms(), db.at_ms(until_ms), fresh, fresh, text, fresh, db.now(), db.now(), fresh,
    db.now(), name, aggregate, db.now(), claim or sql.null)
  if not done then return nil, e end
  if done.affected == 0 then return false end
  return sagas.find(name, aggregate)
end


--- A flow that ended badly begins anew; one that was dropped goes on from its last step.
function sagas.begin(name, aggregate, data, until_ms, anew, claim)
  local now, text = time.now_ms(), db.to_json(data)
  local made, e = sql.exec("INSERT IGNORE INTO sagas (name, aggregate, data, claim, claimed_until,"
    .. " attempts, created_at, updated_at) VALUES (?, ?, ?, ?, ?, 1, ?, ?)", name, aggregate, text,
    now, db.at_ms(until_ms), db.at_ms(now), db.at_ms(now))
  if not made then return nil, e end
  if made.affected == 1 then
    return { id = made.insert_id, name = name, aggregate = aggregate, state = "running", step = 0,
      data = data, claim = now, attempts = 1, tries = 0, counted = 0, saved = text }
  end
  return take_over(name, aggregate, text, until_ms, anew, claim)
end


-- One that is there already is taken over by `begin`, not by this.
function sagas.begin_with(script, name, aggregate, data, opts)
  local now, text = time.now_ms(), db.to_json(data)
  script:must("there", 1, "INSERT IGNORE INTO sagas (name, aggregate, step, data, claim,"
    .. " claimed_until, attempts, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)",
    name, aggregate, opts.step, text, now, db.at_ms(opts.until_ms), db.at_ms(now), db.at_ms(now))
  script:exec("SET @till_saga = LAST_INSERT_ID()")
  return { name = name, aggregate = aggregate, state = "running", step = opts.step, data = data,
    claim = now, attempts = 1, tries = 0, counted = opts.step, saved = text }
end


-- Columns are assigned from left to right: `step` after what is compared with the old one.
local IS_NEXT = "(? OR NOT ? AND ? > step)"


--- Lets go of the claim when the new state is not "running". Data that has not changed is not sent.
function sagas.save(saga, f, tx)
  local state = f.state or saga.state
  local step = f.step or saga.step
  local text = db.to_json(saga.data)
  local stays = state == "waiting" or state == "parked"
  local back = saga.data.undoing and 1 or 0
  local done, e = db.on(tx):exec("UPDATE sagas SET state = ?, tries = IF(" .. IS_NEXT .. ", 0,"
    .. " tries), stuck_since = COALESCE(IF(" .. IS_NEXT .. ", NULL, stuck_since), ?), step = ?,"
    .. " data = COALESCE(?, data),"
    .. " error = ?, next_at = ?, claimed_until = IF(? = 'running', claimed_until, NULL),"
    .. " parked_at = ?, updated_at = ? WHERE id = ? AND claim = ? AND state <> 'done'", state,
    f.anew and 1 or 0, back, step, f.anew and 1 or 0, back, step, stays and db.now() or sql.null,
    step, text ~= saga.saved and text or sql.null,
    f.error and tostring(f.error):sub(1, 500) or sql.null, db.at_ms(f.next_ms), state,
    state == "parked" and db.now() or sql.null, db.now(), saga.id, saga.claim)
  if not done then return nil, e end
  -- Two saves within a millisecond may change nothing: refused is what is done or was taken over.
  if done.affected == 0 then
    local row = db.on(tx):one("SELECT claim, state FROM sagas WHERE id = ?", saga.id)
    if not row or row.claim ~= saga.claim then return false end
    if row.state == "done" and state ~= "done" then return false end
  end
  saga.state, saga.step = state, step
  if f.anew then saga.counted = nil end
  if not tx then saga.saved = text end
  return true
end


function sagas.was_slow(saga)
  return sql.exec("UPDATE sagas SET tries = tries - 1 WHERE id = ? AND claim <> ? AND tries > 0"
    .. " AND state <> 'done'", saga.id, saga.claim)
end


sagas.TAKEN = "taken"


function sagas.finish(script, saga, steps)
  script:must(sagas.TAKEN, 1, "UPDATE sagas SET state = 'done', step = ?, error = NULL,"
    .. " next_at = NULL, claimed_until = NULL, updated_at = ? WHERE id = ? AND claim = ?"
    .. " AND state <> 'done'", steps, db.now(), saga.id, saga.claim)
end


-- The state is assigned last: the condition of the step still sees the old one.
function sagas.at_once(script, name, aggregate, steps)
  local now = db.now()
  script:must(sagas.TAKEN, 1, "INSERT INTO sagas (name, aggregate, state, step, data, created_at,"
    .. " updated_at) VALUES (?, ?, 'done', ?, '{}', ?, ?) ON DUPLICATE KEY UPDATE"
    .. " step = IF(state IN ('undone', 'failed'), VALUES(step), step),"
    .. " state = IF(state IN ('undone', 'failed'), 'done', state)", name, aggregate, steps, now,
    now)
end


-- Who looks once more may be slower than his claim: it has been stuck at this step, and is.
sagas.IN_DOUBT = "(s.state IN ('waiting', 'parked') OR s.state = 'running'"
  .. " AND s.stuck_since IS NOT NULL)"


function sagas.is_in_doubt(saga)
  return saga.state == "waiting" or saga.state == "parked"
    or saga.state == "running" and saga.stuck_since ~= nil
end


function sagas.stuck(limit)
  local rows, e = sql.query("SELECT " .. COLUMNS .. " FROM sagas WHERE state = 'running'"
    .. " AND claimed_until < ? OR state = 'waiting' AND next_at < ? ORDER BY id LIMIT ?",
    db.now(), db.now(), limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_saga(row) end
  return rows
end


function sagas.enqueue(tx, name, aggregate, data, after_ms)
  return tx:exec("INSERT INTO sagas (name, aggregate, state, data, next_at, created_at, updated_at)"
    .. " VALUES (?, ?, 'waiting', ?, ?, ?, ?)", name, aggregate, db.to_json(data),
    db.now(after_ms), db.now(), db.now())
end


function sagas.note(saga, kind, actor, data, tx)
  return db.on(tx):exec("INSERT INTO saga_events (saga_id, type, step, actor, data, at)"
    .. " VALUES (?, ?, ?, ?, ?, ?)", saga.id, kind, saga.step, actor, db.to_json(data), db.now())
end


-- Have staff said at some time that it is done?
function sagas.was_resolved(saga, tx)
  local row, e = db.on(tx):one("SELECT 1 AS yes FROM saga_events WHERE saga_id = ?"
    .. " AND type = 'resolved' LIMIT 1", saga.id)
  if row == nil then return nil, e end
  return row ~= false
end


function sagas.list(opts)
  local where, args = {}, {}
  for _, name in ipairs { "state", "name", "aggregate" } do
    if opts[name] then where[#where + 1], args[#args + 1] = name .. " = ?", opts[name] end
  end
  local rows, e = page.rows { select = COLUMNS, from = "sagas", where = where, args = args,
    id = "id", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_saga(row) end
  return rows
end


--- Those that are parked, then those that have waited or were dropped; the oldest first.
function sagas.unfinished(limit)
  local rows, e = sql.query("SELECT " .. COLUMNS .. " FROM sagas WHERE state = 'parked'"
    .. " OR state = 'waiting' AND stuck_since IS NOT NULL"
    .. " OR state = 'running' AND claimed_until < ? ORDER BY state <> 'parked', id LIMIT ?",
    db.now(), limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_saga(row) end
  return rows
end


function sagas.get(saga_id, tx, lock)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM sagas WHERE id = ?"
    .. (lock and " FOR UPDATE" or ""), saga_id)
  if not row then return row, e end
  return to_saga(row)
end


function sagas.lock(tx, saga_id)
  return sagas.get(saga_id, tx, true)
end


function sagas.history(saga_id)
  local rows, e = sql.query("SELECT type, step, actor, data, at FROM saga_events WHERE saga_id = ?"
    .. " ORDER BY id", saga_id)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do row.data = db.json(row.data) end
  return rows
end


function sagas.release(tx, saga)
  return tx:exec("UPDATE sagas SET state = 'waiting', next_at = ?, tries = 0, stuck_since = ?,"
    .. " parked_at = NULL, updated_at = ? WHERE id = ? AND state = 'parked'", db.now(), db.now(),
    db.now(), saga.id)
end


--- By the word of staff: `done` or `undone`. Its last error stays readable.
function sagas.settle(tx, saga, state)
  return tx:exec("UPDATE sagas SET state = ?, claim = claim + 1, next_at = NULL,"
    .. " claimed_until = NULL, updated_at = ? WHERE id = ? AND state = 'parked'", state, db.now(),
    saga.id)
end


--- Who has it in his hands finds his claim gone.
function sagas.park(tx, name, aggregate, data, error)
  local now, text = db.now(), db.to_json(data)
  return tx:exec("INSERT INTO sagas (name, aggregate, state, step, data, error, parked_at,"
    .. " stuck_since, created_at, updated_at) VALUES (?, ?, 'parked', 0, ?, ?, ?, ?, ?, ?)"
    .. " ON DUPLICATE KEY UPDATE state = 'parked', step = 0, data = VALUES(data),"
    .. " error = VALUES(error), parked_at = VALUES(parked_at), tries = 0,"
    .. " stuck_since = VALUES(stuck_since), next_at = NULL, claimed_until = NULL,"
    .. " claim = claim + 1, updated_at = VALUES(updated_at)", name, aggregate, text,
    error:sub(1, 500), now, now, now, now)
end


return sagas
