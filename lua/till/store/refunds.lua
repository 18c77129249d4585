-- till/store/refunds - refunds that staff asked for, and what became of them.
--
--   create(tx, r)                 r { id, order_id, request, state, wish, currency, amount, reason,
--                                 actor, expires_ms }; under the lock of the order
--   get(id [, tx]), by_request(order_id, request, tx) -> refund | false
--   list(opts) -> rows, newest first      opts: state, order_id, and the page
--   decide(tx, id, state, by, answer) -> true | false    from `requested`, in time; else false
--   set(tx, id, state)            what became of the money
--   expire(limit)                 requests whose time is over
local db = require "till.store.db"
local page = require "till.store.page"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local refunds = {}

local COLUMNS = "id, order_id, state, wish, currency, amount, reason, requested_by, decided_by,"
  .. " decided_at, answer, created_at, expires_at"


local function to_refund(row)
  row.id, row.order_id = db.text("rfnd", row.id), db.text("ord", row.order_id)
  row.wish = db.json(row.wish)
  return row
end


function refunds.get(refund_id, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM refunds WHERE id = ?",
    db.bin("rfnd", refund_id))
  if not row then return row, e end
  return to_refund(row)
end


function refunds.by_request(order_id, request, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM refunds WHERE order_id = ?"
    .. " AND request = ?", db.bin("ord", order_id), request)
  if not row then return row, e end
  return to_refund(row)
end


function refunds.create(tx, r)
  local now_ms = time.now_ms()
  return tx:exec("INSERT INTO refunds (id, order_id, request, state, wish, currency, amount,"
    .. " reason, requested_by, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    db.bin("rfnd", r.id), db.bin("ord", r.order_id), r.request, r.state, db.to_json(r.wish),
    r.currency, r.amount, r.reason, r.actor, db.at_ms(now_ms),
    db.at_ms(r.expires_ms or now_ms))
end


function refunds.decide(tx, refund_id, state, by, answer)
  local done, e = tx:exec("UPDATE refunds SET state = ?, decided_by = ?, decided_at = ?,"
    .. " answer = ? WHERE id = ? AND state = 'requested' AND expires_at > ?", state, by, db.now(),
    answer or "", db.bin("rfnd", refund_id), db.now())
  if not done then return nil, e end
  return done.affected == 1
end


function refunds.set(tx, refund_id, state)
  return db.on(tx):exec("UPDATE refunds SET state = ? WHERE id = ?", state,
    db.bin("rfnd", refund_id))
end


-- By the database's clock as well: there is no way back.
function refunds.expire(limit)
  return sql.exec("UPDATE refunds SET state = 'expired' WHERE state = 'requested'"
    .. " AND expires_at <= LEAST(?, NOW(3)) LIMIT ?", db.now(), limit)
end


function refunds.list(opts)
  local where, args = {}, {}
  if opts.state then where[1], args[1] = "state = ?", opts.state end
  if opts.order_id then
    where[#where + 1], args[#args + 1] = "order_id = ?", db.bin("ord", opts.order_id)
  end
  local rows, e = page.rows { select = COLUMNS, from = "refunds", where = where, args = args,
    id = "id", prefix = "rfnd", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_refund(row) end
  return rows
end


return refunds
