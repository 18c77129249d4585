-- till/store/backlog - how much is left to do: the outbox and the flows that are not over.
--
--   outbox() -> { [type] = { pending =, running =, dead =, oldest_s = } } | nil, err
--             running: claimed, and the lease not over; oldest_s: of the oldest that is due
--   late_reason(type) -> what was last said of one of them that waits, or false | nil, err
--   sagas()  -> list of { name, state, n, age_s } | nil, err
--   dead()   -> { n = dead letters of all types, newest = the largest id of them or nil,
--             is_capped = there may be more } | nil, err
--   parked(after, limit) -> list of { id, name, aggregate, state, attempts, error, updated_at } in
--                       the order of their ids, those after one | nil, err
--   not_parked(subjects) -> { subject = true } | nil, err; a subject is "name:aggregate"
--
-- Asked for every few seconds, so nothing is counted beyond CAPPED of a type.
local sql = require "till.prim.sql"

local backlog = {}

local CAPPED = 10000


local function types_of(state)
  return sql.query("SELECT type, GREATEST(0, TIMESTAMPDIFF(MICROSECOND,"
    .. " MIN(available_at), NOW(3)) / 1e6) AS oldest_s FROM outbox WHERE state = ? GROUP BY type",
    state)
end


local function number(state, event_type)
  local row, e = sql.one("SELECT COUNT(*) AS n FROM (SELECT 1 FROM outbox WHERE state = ?"
    .. " AND type = ? LIMIT " .. CAPPED .. ") AS some", state, event_type)
  if not row then return nil, e end
  return row.n
end


local function running(event_type)
  local row, e = sql.one("SELECT COUNT(*) AS n FROM (SELECT claim FROM outbox WHERE"
    .. " state = 'pending' AND type = ? AND available_at > NOW(3) LIMIT " .. CAPPED
    .. ") AS some WHERE claim <> 0", event_type)
  if not row then return nil, e end
  return row.n
end


local function add_pending(out)
  local types, e = types_of("pending")
  if not types then return nil, e end
  for _, row in ipairs(types) do
    local pending, e2 = number("pending", row.type)
    if not pending then return nil, e2 end
    local busy, e3 = running(row.type)
    if not busy then return nil, e3 end
    out[row.type] = { pending = pending, running = busy, dead = 0, oldest_s = row.oldest_s }
  end
  return true
end


--- One step a type, and what is counted up to CAPPED of each.
function backlog.outbox()
  local out = {}
  local ok, e = add_pending(out)
  if not ok then return nil, e end
  local types, e2 = types_of("dead")
  if not types then return nil, e2 end
  for _, row in ipairs(types) do
    local n, e3 = number("dead", row.type)
    if not n then return nil, e3 end
    out[row.type] = out[row.type] or { pending = 0, running = 0, oldest_s = 0 }
    out[row.type].dead = n
  end
  return out
end


function backlog.late_reason(event_type)
  local row, e = sql.one("SELECT last_error FROM outbox WHERE state = 'pending' AND type = ?"
    .. " AND last_error IS NOT NULL ORDER BY available_at LIMIT 1", event_type)
  if not row then return row, e end
  return row.last_error
end


--- Parked ones wait for somebody of the staff.
function backlog.sagas()
  return sql.query("SELECT name, state, COUNT(*) AS n,"
    .. " TIMESTAMPDIFF(SECOND, MIN(updated_at), UTC_TIMESTAMP(3)) AS age_s FROM sagas"
    .. " WHERE state IN ('running', 'waiting', 'parked', 'failed') GROUP BY name, state")
end


--- Dead letters of all types.
function backlog.dead()
  local row, e = sql.one("SELECT COUNT(*) AS n, MAX(id) AS newest FROM (SELECT id FROM outbox"
    .. " WHERE state = 'dead' LIMIT " .. CAPPED .. ") AS some")
  if not row then return nil, e end
  return { n = row.n, newest = row.newest, is_capped = row.n == CAPPED }
end


--- Those that somebody has to look at.
function backlog.parked(after, limit)
  return sql.query("SELECT id, name, aggregate, state, attempts, error, updated_at FROM sagas"
    .. " WHERE state = 'parked' AND id > ? ORDER BY id LIMIT ?", after, limit)
end


function backlog.not_parked(subjects)
  local out, args = {}, {}
  if #subjects == 0 then return out end
  for _, subject in ipairs(subjects) do
    out[subject] = true
    local name, aggregate = subject:match "^([^:]*):(.*)$"
    args[#args + 1], args[#args + 2] = name or "", aggregate or ""
  end
  local rows, e = sql.query("SELECT name, aggregate FROM sagas WHERE state = 'parked'"
    .. " AND (name, aggregate) IN (" .. ("(?, ?), "):rep(#subjects - 1) .. "(?, ?))", unpack(args))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do out[row.name .. ":" .. row.aggregate] = nil end
  return out
end


return backlog
