-- till/store/cancellations - what was decided not to be sent, or came back, and the money that
-- belongs to it.
--
--   create(tx, c) -> c with its id and position     c { kind, order_id, request, whole, lines,
--                                  shipping, currency, amount, released_amount: of it, that was
--                                  not captured yet, money, payment_id, state, reason, actor,
--                                  part_of }; kind "cancel", "return" or "refund", which the id
--                                  shows; a given id is kept
--   get(id [, tx]), by_request(order_id, request [, tx]) -> c | false
--   of_order(order_id [, tx])      in the order made, of all kinds
--   split(list) -> cancellations, returns, refunds
--   given_by(tx, order_id, actor) -> minor units that he gave back of it so far, or agreed to
--   is_voiding(payment)            is one of its order asking for it to be voided?
--   due(tx, payment_id)            what was given back of it, and what is to be: as of one moment
--   is_awaited(tx, payment_id, event) -> boolean    is it ours (`is_ours`), and is a refund of its
--                                  amount not booked yet?
--   lower(tx, id, amount)          it comes to less by that
--   done(tx, id [, ref]) -> true | false    false where it was done already. ref: the provider's id
--                                  of the refund that it was done with
--   fail(tx, id, { reference, reason })    that did not get there: it is pending again
--   whole(c [, tx]) -> c           with the shares of other payments (of a cancellation of an order
--                                  with several): amount, money and state are of all, `parts` its
--                                  rows. split makes the same of each
--   is_open(tx, c) -> boolean      is a share of it, or of what it is a share of, pending?
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local cancellations = {}

local PREFIXES = { cancel = "can", ["return"] = "ret", refund = "rfnd" }

local COLUMNS = "id, order_id, position, kind, whole, `lines`, shipping, currency, amount, money,"
  .. " payment_id, state, reason, actor, part_of, created_at, done_at, released_amount,"
  .. " refund_ref, failed_ref, failure, failed_at"


local function to_cancellation(row)
  return { id = id.text(PREFIXES[row.kind], row.id), order_id = id.text("ord", row.order_id),
    position = row.position, kind = row.kind, whole = row.whole == 1,
    lines = db.json(row.lines) or {},
    shipping = db.json(row.shipping), currency = row.currency, amount = row.amount,
    money = row.money, payment_id = db.text("pay", row.payment_id), state = row.state,
    reason = row.reason, actor = row.actor, created_at = row.created_at, done_at = row.done_at,
    part_of = row.part_of and id.text(PREFIXES[row.kind], row.part_of) or nil,
    refund_ref = row.refund_ref, failed_ref = row.failed_ref, failure = row.failure,
    failed_at = row.failed_at,
    released_amount = row.released_amount, refund_amount = row.amount - row.released_amount }
end


local function one(tx, where, ...)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM cancellations WHERE " .. where, ...)
  if not row then return row, e end
  return to_cancellation(row)
end


local function bin_of(text)
  return db.bin(text:match("^%a+"), text)
end


function cancellations.get(cancellation_id, tx)
  return one(tx, "id = ?", bin_of(cancellation_id))
end


function cancellations.by_request(order_id, request, tx)
  if not request then return false end
  return one(tx, "order_id = ? AND request = ?", db.bin("ord", order_id), request)
end


function cancellations.of_order(order_id, tx)
  local rows, e = db.on(tx):query("SELECT " .. COLUMNS .. " FROM cancellations WHERE order_id = ?"
    .. " ORDER BY position", db.bin("ord", order_id))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_cancellation(row) end
  return rows
end


--- Whoever cancels the order books what he has voided.
function cancellations.is_voiding(p)
  if not p.order_id then return false end
  local row, e = sql.one("SELECT COUNT(*) AS n FROM cancellations WHERE order_id = ?"
    .. " AND payment_id = ? AND money = 'void' AND state <> 'done'", db.bin("ord", p.order_id),
    db.bin("pay", p.id))
  if not row then return nil, e end
  return row.n > 0
end


local RANK = { none = 0, lowered = 1, void = 2, refund = 3 }


local function sum_up(c, children)
  if not children[1] then return c end
  local out = { parts = { c } }
  for name, value in pairs(c) do out[name] = value end
  out.payment_id = nil
  for i, part in ipairs(children) do
    out.parts[i + 1], out.amount = part, out.amount + part.amount
    out.released_amount = out.released_amount + part.released_amount
    out.refund_amount = out.refund_amount + part.refund_amount
    if RANK[part.money] > RANK[out.money] then out.money = part.money end
    if part.state == "pending" then out.state = "pending" end
    if part.state == "pending" and part.failed_at then
      out.failed_ref, out.failure, out.failed_at = part.failed_ref, part.failure, part.failed_at
    end
    if out.done_at and part.done_at and part.done_at > out.done_at then
      out.done_at = part.done_at
    end
  end
  if out.state == "pending" then out.done_at = nil end
  return out
end


function cancellations.whole(c, tx)
  local rows, e = db.on(tx):query("SELECT " .. COLUMNS .. " FROM cancellations WHERE part_of = ?"
    .. " ORDER BY position", bin_of(c.id))
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_cancellation(row) end
  return sum_up(c, rows)
end


function cancellations.is_open(tx, c)
  local root = bin_of(c.part_of or c.id)
  local row, e = tx:one("SELECT EXISTS (SELECT 1 FROM cancellations WHERE id = ?"
    .. " AND state = 'pending') OR EXISTS (SELECT 1 FROM cancellations WHERE part_of = ?"
    .. " AND state = 'pending') AS is_open", root, root)
  if not row then return nil, e end
  return row.is_open == 1
end


function cancellations.split(list)
  local of, children = { cancel = {}, ["return"] = {}, refund = {} }, {}
  for _, c in ipairs(list) do
    children[c.id] = {}
    if c.part_of then table.insert(children[c.part_of], c) end -- it comes after that
  end
  for _, c in ipairs(list) do
    local to = of[c.kind]
    if not c.part_of then to[#to + 1] = sum_up(c, children[c.id]) end
  end
  return of.cancel, of["return"], of.refund
end


--- Under the lock of the order: its positions have no gaps.
function cancellations.create(tx, c)
  local now_ms = time.now_ms()
  c.id, c.created_at = c.id or id.new(PREFIXES[c.kind]), time.rfc3339(now_ms)
  if c.state == "done" then c.done_at = c.created_at end
  local order = db.bin("ord", c.order_id)
  local ok, e = tx:exec("INSERT INTO cancellations (id, order_id, position, kind, request, whole,"
    .. " `lines`, shipping, currency, amount, money, payment_id, state, reason, actor, part_of,"
    .. " created_at, done_at, released_amount)"
    .. " SELECT ?, ?, COALESCE(MAX(position), 0) + 1, " .. sql.marks(16)
    .. " FROM cancellations WHERE order_id = ?", bin_of(c.id), order, c.kind,
    c.request or sql.null, c.whole and 1 or 0, db.to_json(c.lines), db.to_json(c.shipping),
    c.currency, c.amount, c.money, db.bin("pay", c.payment_id), c.state, c.reason or "", c.actor,
    c.part_of and bin_of(c.part_of) or sql.null, db.at_ms(now_ms),
    c.state == "done" and db.at_ms(now_ms) or sql.null, c.released_amount or 0, order)
  if not ok then return nil, e end
  return c
end


-- Of a refund all counts, also what was let go of for it: the goods stay with the shopper.
function cancellations.given_by(tx, order_id, actor)
  local row, e = db.on(tx):one("SELECT CAST(COALESCE(SUM(CASE WHEN r.id IS NOT NULL THEN r.amount"
    .. " WHEN c.kind = 'refund' THEN 0 WHEN c.money = 'refund' THEN c.amount - c.released_amount"
    .. " ELSE 0 END), 0) AS SIGNED) AS given FROM cancellations c LEFT JOIN refunds r"
    .. " ON r.id = c.id AND c.kind = 'refund' WHERE c.order_id = ? AND c.actor = ?",
    db.bin("ord", order_id), actor)
  if not row then return nil, e end
  return row.given
end


function cancellations.due(tx, payment_id)
  local row, e = db.on(tx):one("SELECT CAST(p.refunded_amount + COALESCE((SELECT"
    .. " SUM(c.amount - c.released_amount) FROM cancellations c WHERE c.payment_id = p.id"
    .. " AND c.state = 'pending' AND c.money = 'refund'), 0) AS SIGNED) AS due FROM payments p"
    .. " WHERE p.id = ?", db.bin("pay", payment_id))
  if not row then return nil, e end
  return row.due
end


function cancellations.is_awaited(tx, payment_id, event)
  if not event.is_ours then return false end
  local row, e = db.on(tx):one("SELECT 1 AS yes FROM cancellations WHERE payment_id = ?"
    .. " AND state = 'pending' AND money = 'refund' AND amount - released_amount = ? LIMIT 1",
    db.bin("pay", payment_id), event.amount)
  if row == nil then return nil, e end
  return row ~= false
end


function cancellations.to_refund(tx, cancellation_id)
  return tx:exec("UPDATE cancellations SET money = 'refund' WHERE id = ? AND state = 'pending'",
    bin_of(cancellation_id))
end


function cancellations.lower(tx, cancellation_id, amount)
  return tx:exec("UPDATE cancellations SET amount = amount - ? WHERE id = ?", amount,
    bin_of(cancellation_id))
end


function cancellations.fail(tx, cancellation_id, f)
  return tx:exec("UPDATE cancellations SET state = 'pending', done_at = NULL, refund_ref = NULL,"
    .. " failed_ref = ?, failure = ?, failed_at = ? WHERE id = ?", f.reference,
    f.reason:sub(1, 255), db.now(), bin_of(cancellation_id))
end


function cancellations.done(tx, cancellation_id, ref)
  local done, e = tx:exec("UPDATE cancellations SET state = 'done', done_at = ?, refund_ref = ?"
    .. " WHERE id = ? AND state = 'pending'", db.now(), ref or sql.null, bin_of(cancellation_id))
  if not done then return nil, e end
  return done.affected == 1
end


return cancellations
