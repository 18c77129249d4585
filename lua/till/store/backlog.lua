-- till/store/backlog - how much is left to do: the outbox and the flows that are not over.
--
--   outbox() -> { pending = { type = n }, oldest_s =, dead = } | nil, err
--   sagas()  -> list of { name, state, n, age_s } | nil, err
--   parked(limit) -> list of { name, aggregate, state, attempts, error, updated_at } | nil, err
--
-- Asked for every few seconds, so nothing is counted beyond CAPPED.
local sql = require "till.prim.sql"

local backlog = {}

local CAPPED = 10000
local PARKED_ATTEMPTS = 8


function backlog.outbox()
  local types, e = sql.query("SELECT type, COUNT(*) AS n FROM (SELECT type FROM outbox"
    .. " WHERE state = 'pending' LIMIT " .. CAPPED .. ") AS some GROUP BY type")
  if not types then return nil, e end
  local row, e2 = sql.one("SELECT (SELECT TIMESTAMPDIFF(SECOND, MIN(available_at),"
    .. " UTC_TIMESTAMP(3)) FROM outbox WHERE state = 'pending') AS oldest_s, (SELECT COUNT(*) FROM"
    .. " (SELECT 1 FROM outbox WHERE state = 'dead' LIMIT " .. CAPPED .. ") AS gone) AS dead")
  if not row then return nil, e2 end
  local pending = {}
  for _, of_type in ipairs(types) do pending[of_type.type] = of_type.n end
  return { pending = pending, oldest_s = math.max(0, row.oldest_s or 0), dead = row.dead }
end


--- Waiting ones that were looked at again and again in vain are "parked": somebody has to look.
function backlog.sagas()
  return sql.query("SELECT name, IF(state = 'waiting' AND attempts >= ?, 'parked', state) AS state,"
    .. " COUNT(*) AS n, TIMESTAMPDIFF(SECOND, MIN(updated_at), UTC_TIMESTAMP(3)) AS age_s"
    .. " FROM sagas WHERE state IN ('running', 'waiting', 'failed') GROUP BY 1, 2", PARKED_ATTEMPTS)
end


--- Those that somebody has to look at, the oldest first.
function backlog.parked(limit)
  return sql.query("SELECT name, aggregate, state, attempts, error, updated_at FROM sagas"
    .. " WHERE state = 'parked' OR state = 'waiting' AND attempts >= ? ORDER BY id LIMIT ?",
    PARKED_ATTEMPTS, limit)
end


return backlog
