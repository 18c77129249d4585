-- till/store/dead - events of the outbox that were given up, and what is cleaned away.
--
--   list(opts)      newest first       replay(tx, id) -> true | false
--   purge(limit)    delivered events and idempotency records that nobody needs any more
local conf = require "till.prim.conf"
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local dead = {}

local DAY_MS = 86400000
local KEPT_MS = 7 * DAY_MS


function dead.list(opts)
  local rows, e = page.rows { select = "id, aggregate, type, payload, attempts, last_error,"
    .. " created_at", from = "outbox", where = { "state = 'dead'" }, id = "id", opts = opts,
    newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do row.payload = db.json(row.payload) end
  return rows
end


function dead.replay(tx, event_id)
  local done, e = db.on(tx):exec("UPDATE outbox SET state = 'pending', attempts = 0, claim = 0,"
    .. " available_at = ? WHERE id = ? AND state = 'dead'", db.now(), tonumber(event_id))
  if not done then return nil, e end
  return done.affected == 1
end


function dead.purge(limit)
  local ok, e = sql.exec("DELETE FROM outbox WHERE state = 'done' AND available_at < ? LIMIT ?",
    db.now(-KEPT_MS), limit)
  if not ok then return nil, e end
  return sql.exec("DELETE FROM idempotency_records WHERE created_at < ? LIMIT ?",
    db.now(-conf.get("idem.keep_hours") * 3600000), limit)
end


return dead
