-- till/store/backlog - how much is left to do: the outbox and the flows that are not over.
--
--   outbox() -> { pending = { type = n }, oldest_s =, dead = } | nil, err
--   sagas()  -> list of { name, state, n, age_s } | nil, err
--
-- Asked for every few seconds, so nothing is counted beyond CAPPED.
local sql = require "till.prim.sql"

local backlog = {}

local CAPPED = 10000


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


--- Parked ones wait for somebody of the staff.
function backlog.sagas()
  return sql.query("SELECT name, state, COUNT(*) AS n,"
    .. " TIMESTAMPDIFF(SECOND, MIN(updated_at), UTC_TIMESTAMP(3)) AS age_s FROM sagas"
    .. " WHERE state IN ('running', 'waiting', 'parked', 'failed') GROUP BY name, state")
end


return backlog
