-- till/store/webhooks - the inbox of what providers told (webhook_events): each event once, by
-- (provider, event_id).
--
--   insert(provider, via, events) -> how many were new | nil, err    events { id, type, subject,
--                       at_ms, body, is_ignored }, up to 100; one statement
--   claim(limit, lease_ms) -> rows, claim | nil, err    those that are due, for lease_ms
--   settle(tx, ids, claim, state, { reason =, payment_id = }) -> true | false: some are not ours
--   put_off(ids, claim, delay_ms, reason)               they are tried again after it
--   has(provider, subject, state) -> is there such a row?
--   bodies(ids) -> texts, as they came, oldest first | nil, err
--   list(opts), get(id) -> row | false; its body too;  replay(tx, id) -> was there such a one?
--   purge(before_ms, limit) -> how many
--   seen_ms(provider) -> ms | false;  set_seen(provider, ms)    of the polls
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local webhooks = {}

local COLUMNS = "id, provider, event_id, type, subject, state, via, tries, reason, payment_id, at,"
  .. " received_at, applied_at"
local ROW = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


function webhooks.insert(provider, via, events)
  local args, now = {}, db.now()
  for _, event in ipairs(events) do
    local state = event.is_ignored and "ignored" or "received"
    for _, value in ipairs { provider, event.id, event.type, event.subject, state, via, now,
      db.at_ms(event.at_ms), now, event.is_ignored and now or sql.null, sql.bytes(event.body) } do
      args[#args + 1] = value
    end
  end
  local done, e = sql.exec("INSERT INTO webhook_events (provider, event_id, type, subject, state,"
    .. " via, next_at, at, received_at, applied_at, body) VALUES " .. ROW
    .. (", " .. ROW):rep(#events - 1) .. " ON DUPLICATE KEY UPDATE id = id", unpack(args))
  if not done then return nil, e end
  return done.affected
end


function webhooks.claim(limit, lease_ms)
  local claim = tonumber(crypto.hex(crypto.random(6)), 16) + 1
  local now_ms = time.now_ms()
  local done, e = sql.exec("UPDATE webhook_events SET claim = ?, next_at = ?, tries = tries + 1"
    .. " WHERE state = 'received' AND next_at <= ? ORDER BY next_at, id LIMIT ?", claim,
    db.at_ms(now_ms + lease_ms), db.at_ms(now_ms), limit)
  if not done then return nil, e end
  if done.affected == 0 then return {}, claim end
  local rows, e2 = sql.query("SELECT id, provider, event_id, type, subject, tries"
    .. " FROM webhook_events WHERE claim = ? AND state = 'received' ORDER BY id", claim)
  if not rows then return nil, e2 end
  return rows, claim
end


local function ours(ids, claim)
  local args = db.padded({ unpack(ids) })
  local where = " WHERE id IN (" .. sql.marks(#args) .. ") AND claim = ? AND state = 'received'"
  args[#args + 1] = claim
  return where, args
end


function webhooks.settle(tx, ids, claim, state, more)
  local where, args = ours(ids, claim)
  local reason = more and more.reason
  local done, e = db.on(tx):exec("UPDATE webhook_events SET state = ?, reason = ?, payment_id = ?,"
    .. " applied_at = ?" .. where, state, reason and reason:sub(1, 255) or sql.null,
    db.bin("pay", more and more.payment_id), db.now(), unpack(args))
  if not done then return nil, e end
  return done.affected == #ids
end


function webhooks.put_off(ids, claim, delay_ms, reason)
  local where, args = ours(ids, claim)
  return sql.exec("UPDATE webhook_events SET next_at = ?, reason = ?" .. where,
    db.at_ms(time.now_ms() + delay_ms), reason:sub(1, 255), unpack(args))
end


function webhooks.has(provider, subject, state)
  local row, e = sql.one("SELECT 1 AS found FROM webhook_events WHERE state = ? AND provider = ?"
    .. " AND subject = ? LIMIT 1", state, provider, subject)
  if row == nil then return nil, e end
  return row ~= false
end


function webhooks.bodies(ids)
  local args = db.padded({ unpack(ids) })
  local rows, e = sql.query("SELECT body FROM webhook_events WHERE id IN (" .. sql.marks(#args)
    .. ") ORDER BY at, id", unpack(args))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = row.body end
  return rows
end


local function to_event(row)
  row.payment_id = db.text("pay", row.payment_id)
  return row
end


function webhooks.list(opts)
  local where, args = {}, {}
  for _, field in ipairs { "state", "provider", "type" } do
    if opts[field] then
      where[#where + 1] = field .. " = ?"
      args[#args + 1] = opts[field]
    end
  end
  local rows, e = page.rows { select = COLUMNS, from = "webhook_events", where = where,
    args = args, id = "id", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_event(row) end
  return rows
end


function webhooks.get(event_id, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. ", body FROM webhook_events WHERE id = ?",
    event_id)
  return row and to_event(row), e
end


function webhooks.replay(tx, event_id)
  local done, e = tx:exec("UPDATE webhook_events SET state = 'received', tries = 0, claim = 0,"
    .. " reason = NULL, applied_at = NULL, next_at = ? WHERE id = ?", db.now(), event_id)
  if not done then return nil, e end
  return done.affected == 1
end


function webhooks.purge(before_ms, limit)
  local done, e = sql.exec("DELETE FROM webhook_events WHERE received_at < ?"
    .. " AND state IN ('applied', 'ignored') ORDER BY received_at LIMIT ?", db.at_ms(before_ms),
    limit)
  return done and done.affected, e
end


function webhooks.seen_ms(provider)
  local row, e = sql.one("SELECT seen_at FROM webhook_polls WHERE provider = ?", provider)
  if not row then return row, e end
  return time.parse(row.seen_at)
end


function webhooks.set_seen(provider, ms)
  return sql.exec("INSERT INTO webhook_polls (provider, seen_at) VALUES (?, ?)"
    .. " ON DUPLICATE KEY UPDATE seen_at = GREATEST(seen_at, VALUES(seen_at))", provider,
    db.at_ms(ms))
end


return webhooks
