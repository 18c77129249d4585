-- till/store/payment_events - what has happened to each payment, in order. Rows are only ever
-- added; till.prim.attempt sums them up, and the row of till.store.payments says what they come to.
--
--   created(tx, id, amount, at)       its first event; at as till.store.db's at_ms
--   at_once(script, id, state, amount)    of one whose only event is `created`: it was sent, and is
--                                     `authorized` or `captured`
--   moved(tx, id, kind, fields)       after the row was moved: the amount is all that is left for
--                                     the kind, as row and events say. fields { reason, actor }
--   part(tx, id, kind, amount)        a part of it
--   let_go(tx, id, amount)            after the row was told: a part will not be captured. Nothing
--                                     where that is all: then the provider has to be asked first
--   add(tx, id, event)                event { kind, amount, reference, reason, actor, fee, at_ms,
--                                     seq: its number, where the caller knows the last one }
--   name(tx, id, event) -> true | false    the oldest event of this kind and amount that bears no
--                                     reference is given that of `event`, once
--   charge(tx, id, event) -> true | false    that of its kind and reference, which had no fee, is
--                                     given that of `event`
--   claim(tx, id, event) -> true | false    what the provider told of before we did is ours:
--                                     event { kind, amount, reference or nil, actor, since,
--                                     since_ms }. By its reference; else the oldest one with any,
--                                     of this kind and amount, that came after the event `since`,
--                                     or where that is not known at `since_ms` or later, and is
--                                     nobody's yet. Where neither is known: none
--   complete(tx, id, known, f)        `known`, one of `of`, is given f.reference and, where it has
--                                     none, f.fee
--   last(tx, id) -> the number of its newest event
--   sum(id, kind, seq [, tx]) -> minor units of that kind, up to the event of that number
--   count(id, kind) -> how many of that kind
--   sent_ms(id [, tx]) -> when it was sent last | false: never | nil, err
--   of(id [, tx]) -> { { seq, event, amount, reference, reason, actor, fee, at }, … } | nil, err
--   of_all(tx, ids) -> { id -> the same } | nil, err
--
-- Amounts in minor units. The caller holds the row of the payment, or has just made it; tx may be a
-- script (till.store.script). No function gives rows back where tx is one.
local db = require "till.store.db"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local payment_events = {}

local NEVER = 2 ^ 31 -- no payment has so many events
local HEAD = "INSERT INTO payment_events (payment_id, seq, kind, amount, actor, at) VALUES "
local NEXT = "INSERT INTO payment_events (payment_id, seq, kind, amount, reference, reason, actor,"
  .. " fee, at) SELECT p.id, 1 + COALESCE(MAX(e.seq), 0), "
local FROM = " FROM payments p LEFT JOIN payment_events e ON e.payment_id = p.id WHERE p.id = ?%s"
  .. " GROUP BY p.id, p.amount, p.capture_amount"

-- What is left: of what was authorized to be let go, and of what was captured to be given back.
local LEFT = "CASE ? WHEN 'authorized' THEN p.amount WHEN 'captured' THEN p.capture_amount"
  .. " WHEN 'voided' THEN COALESCE(GREATEST(0, SUM(CASE e.kind WHEN 'authorized' THEN e.amount"
  .. " WHEN 'captured' THEN -e.amount WHEN 'voided' THEN -e.amount ELSE 0 END)), 0)"
  .. " WHEN 'refunded' THEN COALESCE(SUM(CASE e.kind WHEN 'captured' THEN e.amount"
  .. " WHEN 'refunded' THEN -e.amount WHEN 'refund_failed' THEN e.amount ELSE 0 END), 0)"
  .. " ELSE 0 END"


local function value(v)
  if v == nil then return sql.null end
  return v
end


function payment_events.created(tx, id, amount, at)
  return db.insert(tx, HEAD .. "(?, 1, 'created', ?, 'system', ?)", db.bin("pay", id), amount, at)
end


function payment_events.at_once(script, id, state, amount)
  local bin, now = db.bin("pay", id), db.now()
  return db.insert(script, HEAD .. "(?, 2, 'send', 0, 'system', ?), (?, 3, ?, ?, 'system', ?)",
    bin, now, bin, state, amount, now)
end


function payment_events.moved(tx, id, kind, f)
  return tx:exec(NEXT .. "?, " .. LEFT .. ", NULL, ?, ?, NULL, ?" .. FROM:format(""), kind, kind,
    f.reason and f.reason:sub(1, 255) or sql.null, f.actor or "system", db.now(),
    db.bin("pay", id))
end


-- Whoever holds the row knows the number: so it is an insert like any other.
local function add_as(tx, id, event)
  return db.insert(tx, "INSERT INTO payment_events (payment_id, seq, kind, amount, reference,"
    .. " reason, actor, fee, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", db.bin("pay", id), event.seq,
    event.kind, event.amount or 0, value(event.reference),
    event.reason and event.reason:sub(1, 255) or sql.null, event.actor or "system",
    value(event.fee), event.at_ms and db.at_ms(event.at_ms) or db.now())
end


function payment_events.add(tx, id, event)
  if event.seq then return add_as(tx, id, event) end
  return tx:exec(NEXT .. "?, ?, ?, ?, ?, ?, ?" .. FROM:format(""), event.kind, event.amount or 0,
    value(event.reference), event.reason and event.reason:sub(1, 255) or sql.null,
    event.actor or "system", value(event.fee),
    event.at_ms and db.at_ms(event.at_ms) or db.now(), db.bin("pay", id))
end


function payment_events.part(tx, id, kind, amount)
  return payment_events.add(tx, id, { kind = kind, amount = amount })
end


function payment_events.let_go(tx, id, amount)
  if amount == 0 then return {} end
  return tx:exec(NEXT .. "'voided', ?, NULL, NULL, 'system', NULL, ?"
    .. FROM:format(" AND p.released_amount < p.amount"), amount, db.now(), db.bin("pay", id))
end


function payment_events.name(tx, id, event)
  local done, e = tx:exec("UPDATE payment_events SET reference = ? WHERE payment_id = ?"
    .. " AND kind = ? AND amount = ? AND reference IS NULL ORDER BY seq LIMIT 1",
    event.reference, db.bin("pay", id), event.kind, event.amount)
  if not done then return nil, e end
  return done.affected == 1
end


function payment_events.charge(tx, id, event)
  local done, e = tx:exec("UPDATE payment_events SET fee = ? WHERE payment_id = ? AND kind = ?"
    .. " AND reference = ? AND fee IS NULL", event.fee, db.bin("pay", id), event.kind,
    event.reference)
  if not done then return nil, e end
  return done.affected == 1
end


-- Whose it is, is its actor: what a provider told of by itself is the provider's.
function payment_events.claim(tx, id, event)
  local by_time = not event.since and event.since_ms
  local done, e = tx:exec("UPDATE payment_events SET actor = ? WHERE payment_id = ? AND kind = ?"
    .. " AND amount = ? AND actor LIKE 'provider:%' AND IF(? IS NULL, reference IS NOT NULL"
    .. " AND seq > ? AND at >= ?, reference = ?) ORDER BY seq LIMIT 1",
    event.actor, db.bin("pay", id),
    event.kind, event.amount, value(event.reference), event.since or by_time and 0 or NEVER,
    db.at_ms(by_time and event.since_ms or 0), value(event.reference))
  if not done then return nil, e end
  return done.affected == 1
end


-- Rows that are there: the insert finds them, whatever it says of amount and actor.
function payment_events.complete(tx, id, known, f)
  return db.insert(tx, "INSERT INTO payment_events (payment_id, seq, kind, reference, fee) VALUES"
    .. " (?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE reference = VALUES(reference),"
    .. " fee = COALESCE(VALUES(fee), fee)", db.bin("pay", id), known.seq, known.event, f.reference,
    value(f.fee))
end


function payment_events.last(tx, id)
  local row, e = db.on(tx):one("SELECT CAST(COALESCE(MAX(seq), 0) AS SIGNED) AS seq"
    .. " FROM payment_events WHERE payment_id = ?", db.bin("pay", id))
  if not row then return nil, e end
  return row.seq
end


function payment_events.sum(id, kind, seq, tx)
  local row, e = db.on(tx):one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS amount"
    .. " FROM payment_events WHERE payment_id = ? AND kind = ? AND seq <= ?", db.bin("pay", id),
    kind, seq)
  if not row then return nil, e end
  return row.amount
end


function payment_events.count(id, kind)
  local row, e = sql.one("SELECT COUNT(*) AS n FROM payment_events WHERE payment_id = ?"
    .. " AND kind = ?", db.bin("pay", id), kind)
  if not row then return nil, e end
  return row.n
end


function payment_events.sent_ms(id, tx)
  local row, e = db.on(tx):one("SELECT MAX(at) AS at FROM payment_events WHERE payment_id = ?"
    .. " AND kind = 'send'", db.bin("pay", id))
  if not row then return nil, e end
  return row.at and time.parse(row.at) or false
end


local READ = "SELECT payment_id, seq, kind AS event, amount, reference, reason, actor, fee, at"
  .. " FROM payment_events FORCE INDEX (PRIMARY) WHERE payment_id %s ORDER BY payment_id, seq"


function payment_events.of(id, tx)
  local rows, e = db.on(tx):query(READ:format "= ?", db.bin("pay", id))
  for _, row in ipairs(rows or {}) do row.payment_id = nil end -- bytes, which no answer should show
  return rows, e
end


function payment_events.of_all(tx, ids)
  local bins = db.bins("pay", ids)
  local rows, e = tx:query(READ:format("IN (" .. sql.marks(#bins) .. ")"), unpack(bins))
  if not rows then return nil, e end
  local out = {}
  for bin, list in pairs(db.group(rows, "payment_id")) do out[db.text("pay", bin)] = list end
  return out
end


return payment_events
