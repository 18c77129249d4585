-- till/store/dead - events of the outbox that were given up, what staff decide about them, and what
-- is cleaned away.
--
--   list(opts)    newest first; opts: those of a page, type, state ("dead", or "discarded")
--   get(id)       -> an event in whatever state | false
--   replay(tx, id) -> true | false                 discard(tx, id, who, why) -> true | false
--   replay_all(tx, type, limit) -> n               discard_all(tx, type, who, why, limit) -> n
--   purge(limit [, within_ms])  delivered and discarded events, idempotency records that nobody
--                 needs any more; so many of each with a statement, and again as long as there are
--                 more and it is in time -> true | nil, err
--
-- A replayed event is due at once and has all its attempts. It comes before what of its aggregate
-- is not delivered yet, but what came after it may have been told already; one that is being told
-- is waited for.
-- A discarded one is kept, with who and why, as long as a delivered one.
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local dead = {}

local KEPT_MS = 7 * 86400000
local COLUMNS = "id, aggregate, type, payload, state, attempts, last_error, created_at,"
  .. " settled_by, settled_why, settled_at"
-- Due by the database's clock, which claims go by. The claim 1 says that it was replayed: what came
-- after it may be at work (core/trade/outbox.h).
local REPLAY = "UPDATE outbox SET state = 'pending', attempts = 0, claim = 1,"
  .. " available_at = NOW(3) WHERE state = 'dead'"
local DISCARD = "UPDATE outbox SET state = 'discarded', available_at = ?, settled_at = ?,"
  .. " settled_by = ?, settled_why = ? WHERE state = 'dead'"


local function to_event(row)
  row.payload = db.json(row.payload)
  return row
end


function dead.list(opts)
  local where, args = { "state = ?" }, { opts.state or "dead" }
  if opts.type then where[2], args[2] = "type = ?", opts.type end
  local rows, e = page.rows { select = COLUMNS, from = "outbox", where = where, args = args,
    id = "id", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_event(row) end
  return rows
end


function dead.get(event_id)
  local row, e = sql.one("SELECT " .. COLUMNS .. " FROM outbox WHERE id = ?", tonumber(event_id))
  if not row then return row, e end
  return to_event(row)
end


local function affected(tx, ...)
  local done, e = db.on(tx):exec(...)
  if not done then return nil, e end
  return done.affected
end


local function is_one(n, e)
  if not n then return nil, e end
  return n == 1
end


function dead.replay(tx, event_id)
  return is_one(affected(tx, REPLAY .. " AND id = ?", tonumber(event_id)))
end


function dead.replay_all(tx, event_type, limit)
  return affected(tx, REPLAY .. " AND type = ? ORDER BY id LIMIT ?", event_type, limit)
end


function dead.discard(tx, event_id, who, why)
  return is_one(affected(tx, DISCARD .. " AND id = ?", db.now(), db.now(), who, why,
    tonumber(event_id)))
end


function dead.discard_all(tx, event_type, who, why, limit)
  return affected(tx, DISCARD .. " AND type = ? ORDER BY id LIMIT ?", db.now(), db.now(), who, why,
    event_type, limit)
end


-- Old by the database's clock as well as by ours: one that is days ahead takes nothing away. Again
-- while there is more, until its time is over or this generation ends; after each comes a pause as
-- long as it took.
local function delete_old(until_ms, kept_ms, limit, text, ...)
  local args = { ... }
  args[#args + 1], args[#args + 2] = db.now(-kept_ms), kept_ms / 1000
  args[#args + 1] = limit
  while true do
    local at = time.mono_ms()
    local done, e = sql.exec(text .. " < LEAST(?, NOW(3) - INTERVAL ? SECOND) LIMIT ?",
      unpack(args))
    if not done then return nil, e end
    local now = time.mono_ms()
    if done.affected < limit or now >= until_ms or co.closing() then return true end
    if not time.sleep(math.max(1, now - at)) then return true end
  end
end


local function purge_state(state, until_ms, limit)
  local types, e = sql.query("SELECT type FROM outbox WHERE state = ? GROUP BY type", state)
  if not types then return nil, e end
  for _, row in ipairs(types) do
    local ok, e2 = delete_old(until_ms, KEPT_MS, limit, "DELETE FROM outbox WHERE state = ?"
      .. " AND type = ? AND available_at", state, row.type)
    if not ok then return nil, e2 end
    if co.closing() then return true end
  end
  return true
end


function dead.purge(limit, within_ms)
  local until_ms = time.mono_ms() + (within_ms or 0)
  local ok, e = delete_old(until_ms, conf.get("idem.keep_hours") * 3600000, limit,
    "DELETE FROM idempotency_records WHERE created_at")
  for _, state in ipairs { "done", "discarded" } do
    if ok then ok, e = purge_state(state, until_ms, limit) end
  end
  return ok, e
end


return dead
