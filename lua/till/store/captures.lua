-- till/store/captures - parts of payments that are to be captured, or were.
--
--   create(tx, c) -> c with its id        c { payment_id, order_id, request, amount, final, state
--                                         "queued" | "asked", since, actor }
--   get(id [, tx]), by_request(payment_id, request [, tx]) -> c | false
--   of_payment(payment_id [, tx])         oldest first
--   asked(payment_id [, tx]) -> c | false    the one that has no outcome yet
--   not_asked(ids) -> { id = true } of payments that have none without an outcome
--   queued(tx, payment_id) -> amount      that is to be asked for still
--   ask(tx, id, amount, since)            a queued one, with what it comes to now
--   drop(tx, id), refuse(tx, id, reason)  it will not be captured
--   done(tx, id) -> true | false          false where it was done, or refused, already
--   settle(tx, payment_id, state, reason) the one without an outcome has this one
--
-- Amounts in minor units. The caller holds the row of the order.
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local captures = {}

local COLUMNS = "id, payment_id, order_id, request, amount, final, state, since, reason, actor,"
  .. " created_at, asked_at, done_at"


local function to_capture(row)
  return { id = id.text("cap", row.id), payment_id = id.text("pay", row.payment_id),
    order_id = id.text("ord", row.order_id), request = row.request, amount = row.amount,
    final = row.final == 1, state = row.state, since = row.since, reason = row.reason,
    actor = row.actor, created_at = row.created_at, asked_at = row.asked_at,
    done_at = row.done_at }
end


local function one(tx, where, ...)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM captures WHERE " .. where, ...)
  if not row then return row, e end
  return to_capture(row)
end


function captures.create(tx, c)
  c.id, c.created_at = id.new("cap"), time.rfc3339(time.now_ms())
  c.asked_at = c.state == "asked" and c.created_at or nil
  local now = db.now()
  local ok, e = tx:exec("INSERT INTO captures (id, payment_id, order_id, request, amount, final,"
    .. " state, since, actor, created_at, asked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    db.bin("cap", c.id), db.bin("pay", c.payment_id), db.bin("ord", c.order_id), c.request,
    c.amount, c.final and 1 or 0, c.state, c.since or sql.null, c.actor, now,
    c.asked_at and now or sql.null)
  if not ok then return nil, e end
  return c
end


function captures.get(capture_id, tx)
  return one(tx, "id = ?", db.bin("cap", capture_id))
end


function captures.by_request(payment_id, request, tx)
  if not request then return false end
  return one(tx, "payment_id = ? AND request = ?", db.bin("pay", payment_id), request)
end


function captures.of_payment(payment_id, tx)
  local rows, e = db.on(tx):query("SELECT " .. COLUMNS .. " FROM captures WHERE payment_id = ?"
    .. " ORDER BY id", db.bin("pay", payment_id))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_capture(row) end
  return rows
end


function captures.asked(payment_id, tx)
  return one(tx, "payment_id = ? AND state = 'asked' ORDER BY id LIMIT 1",
    db.bin("pay", payment_id))
end


function captures.not_asked(ids)
  return db.ids_of("pay", "SELECT id FROM payments WHERE id IN (%s) AND NOT EXISTS (SELECT 1"
    .. " FROM captures c WHERE c.payment_id = payments.id AND c.state = 'asked')", ids)
end


function captures.queued(tx, payment_id)
  local row, e = tx:one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS amount FROM captures"
    .. " WHERE payment_id = ? AND state = 'queued'", db.bin("pay", payment_id))
  if not row then return nil, e end
  return row.amount
end


function captures.ask(tx, capture_id, amount, since)
  return tx:exec("UPDATE captures SET state = 'asked', amount = ?, since = ?, asked_at = ?"
    .. " WHERE id = ? AND state = 'queued'", amount, since, db.now(), db.bin("cap", capture_id))
end


function captures.drop(tx, capture_id)
  return tx:exec("UPDATE captures SET state = 'dropped', amount = 0, done_at = ? WHERE id = ?"
    .. " AND state = 'queued'", db.now(), db.bin("cap", capture_id))
end


local function finish(tx, where, what, state, reason)
  local done, e = tx:exec("UPDATE captures SET state = ?, reason = ?, done_at = ? WHERE " .. where
    .. " = ? AND state = 'asked'", state, reason and reason:sub(1, 255) or sql.null, db.now(), what)
  if not done then return nil, e end
  return done.affected > 0
end


function captures.refuse(tx, capture_id, reason)
  return finish(tx, "id", db.bin("cap", capture_id), "refused", reason)
end


function captures.done(tx, capture_id)
  return finish(tx, "id", db.bin("cap", capture_id), "done")
end


function captures.settle(tx, payment_id, state, reason)
  return finish(tx, "payment_id", db.bin("pay", payment_id), state, reason)
end


return captures
