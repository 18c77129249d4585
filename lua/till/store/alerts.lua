-- till/store/alerts - conditions that staff should know of, each told once until it ends.
--
--   raise(tx, kind, subject, { level =, detail =, times = 1 }) -> was it closed before? | nil, err
--                      appends its event then: type = kind, payload = detail with alert_id, subject
--   close(kind, subject [, tx]) -> was it open? | nil, err
--   lock(tx, id) -> { id, kind, subject, state, detail, … as list } | false | nil, err
--   end_by_hand(tx, row, { actor =, reason = })    its detail has who, as `closed_by`, and why
--   close_unseen(kind, since_ms)   those that nobody has seen since
--   close_others(kind, subjects)   all that are open but these
--   set_level(kind, subject, level)
--   of(kind, subject [, tx]) -> row | false | nil, err
--   open() -> { kind = how many are open }
--   open_after(kind, id, limit) -> open ones { id, subject, order_id } in the order of their ids
--   list(opts) -> rows, newest first      opts of till.store.page; state, kind
--
-- The row is locked from raise to the end of the transaction: two that see one condition tell once.
local db = require "till.store.db"
local page = require "till.store.page"
local records = require "till.store.records"
local sql = require "till.prim.sql"

local alerts = {}


local function lock(tx, kind, subject)
  return tx:one("SELECT id, state FROM alerts WHERE kind = ? AND subject = ? FOR UPDATE", kind,
    subject)
end


-- One that nobody has seen yet comes into being closed: so there is a row to lock. An INSERT of one
-- that is there would lock it for reading, and two who have done that stand in each other's way.
-- Assignments run from left to right.
local function write(tx, kind, subject, seen)
  local now = db.now()
  local was, e = lock(tx, kind, subject)
  if was == false then
    local made, e2 = tx:exec("INSERT IGNORE INTO alerts (kind, subject, state, detail, opened_at,"
      .. " seen_at) VALUES (?, ?, 'closed', '{}', ?, ?)", kind, subject, now, now)
    if not made then return nil, e2 end
    was, e = lock(tx, kind, subject)
  end
  if not was then return nil, e end
  local opens = was.state == "closed"
  local ok, e3 = tx:exec("UPDATE alerts SET level = ?, times = IF(?, 0, times) + ?, detail = ?,"
    .. " opened_at = IF(?, ?, opened_at), seen_at = ?, closed_at = NULL, state = 'open'"
    .. " WHERE id = ?", seen.level or 0, opens, seen.times or 1, db.to_json(seen.detail or {}),
    opens, now, now, was.id)
  if not ok then return nil, e3 end
  return opens, was.id
end


function alerts.raise(tx, kind, subject, seen)
  local opens, alert_id = write(tx, kind, subject, seen)
  if opens == nil then return nil, alert_id end
  if not opens then return false end
  local payload = { alert_id = alert_id, subject = subject }
  for name, value in pairs(seen.detail or {}) do payload[name] = value end
  local ok, e = records.events(tx, { { aggregate = "alert:" .. alert_id, type = kind,
    payload = payload } })
  if not ok then return nil, e end
  return true
end


local function shut_in(tx, where, ...)
  local done, e = db.on(tx):exec("UPDATE alerts SET state = 'closed', closed_at = ?"
    .. " WHERE state = 'open' AND kind = ? AND " .. where, db.now(), ...)
  if not done then return nil, e end
  return done.affected > 0
end


local function shut(where, ...)
  return shut_in(nil, where, ...)
end


function alerts.close(kind, subject, tx)
  return shut_in(tx, "subject = ?", kind, subject)
end


function alerts.close_unseen(kind, since_ms)
  return shut("seen_at < ?", kind, db.at_ms(since_ms))
end


function alerts.close_others(kind, subjects)
  if #subjects == 0 then return shut("1", kind) end
  return shut("subject NOT IN (" .. sql.marks(#subjects) .. ")", kind, unpack(subjects))
end


local COLUMNS = "id, kind, subject, state, level, times, detail, opened_at, seen_at, closed_at"


function alerts.lock(tx, alert_id)
  local row, e = tx:one("SELECT " .. COLUMNS .. " FROM alerts WHERE id = ? FOR UPDATE", alert_id)
  if row then row.detail = db.json(row.detail) end
  return row, e
end


function alerts.end_by_hand(tx, row, by)
  return tx:exec("UPDATE alerts SET state = 'closed', closed_at = ?, detail = JSON_SET(detail,"
    .. " '$.closed_by', ?, '$.closed_because', ?) WHERE id = ?", db.now(), by.actor, by.reason,
    row.id)
end


--- The number that it goes by, without telling anybody.
function alerts.set_level(kind, subject, level)
  return sql.exec("UPDATE alerts SET level = ? WHERE kind = ? AND subject = ?", level, kind,
    subject)
end


function alerts.of(kind, subject, tx)
  local row, e = db.on(tx):one("SELECT id, state, level, times, detail, opened_at, seen_at,"
    .. " closed_at FROM alerts WHERE kind = ? AND subject = ?", kind, subject)
  if row then row.detail = db.json(row.detail) end
  return row, e
end


function alerts.open()
  local rows, e = sql.query("SELECT kind, COUNT(*) AS n FROM alerts WHERE state = 'open'"
    .. " GROUP BY kind")
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[row.kind] = row.n end
  return out
end


function alerts.open_after(kind, alert_id, limit)
  return sql.query("SELECT id, subject, JSON_VALUE(detail, '$.order_id') AS order_id FROM alerts"
    .. " WHERE state = 'open' AND kind = ? AND id > ? ORDER BY id LIMIT ?", kind, alert_id, limit)
end


function alerts.list(opts)
  local where, args = {}, {}
  for _, field in ipairs { "state", "kind" } do
    if opts[field] then
      where[#where + 1] = field .. " = ?"
      args[#args + 1] = opts[field]
    end
  end
  local rows, e = page.rows { select = COLUMNS, from = "alerts", where = where, args = args,
    id = "id", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do row.detail = db.json(row.detail) end
  return rows
end


return alerts
