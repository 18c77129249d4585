-- till/store/payment_requests - what staff ask the shopper to pay of an order that was placed.
--
--   put(tx, order_id, r) -> true     r { amount, reason, instead_of or nil, actor }; in place of
--                                    the one before
--   get(order_id [, tx]) -> { order_id, amount, reason, instead_of, actor, asked_at } | false
--   pay(tx, order_id, amount)        so much of it was paid; with the last of it the row goes
--   lower(tx, order_id, most) -> true    it asks for no more than that; of 0 or less the row goes
--   withdraw(tx, order_id) -> was there one?
--
-- Minor units of the order's currency. Who writes holds the row of the order.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local requests = {}


function requests.put(tx, order_id, r)
  return tx:exec("REPLACE INTO payment_requests (order_id, amount, reason, instead_of, actor,"
    .. " asked_at) VALUES (?, ?, ?, ?, ?, ?)", db.bin("ord", order_id), r.amount, r.reason,
    r.instead_of and db.bin("pay", r.instead_of) or sql.null, r.actor, db.now())
end


function requests.get(order_id, tx)
  local row, e = db.on(tx):one("SELECT order_id, amount, reason, instead_of, actor, asked_at"
    .. " FROM payment_requests WHERE order_id = ?", db.bin("ord", order_id))
  if not row then return row, e end
  row.order_id, row.instead_of = order_id, db.text("pay", row.instead_of)
  return row
end


function requests.pay(tx, order_id, amount)
  local bin = db.bin("ord", order_id)
  local ok, e = tx:exec("DELETE FROM payment_requests WHERE order_id = ? AND amount <= ?", bin,
    amount)
  if not ok then return nil, e end
  return tx:exec("UPDATE payment_requests SET amount = amount - ? WHERE order_id = ?"
    .. " AND amount > ?", amount, bin, amount)
end


function requests.lower(tx, order_id, most)
  if most <= 0 then
    return tx:exec("DELETE FROM payment_requests WHERE order_id = ?", db.bin("ord", order_id))
  end
  return tx:exec("UPDATE payment_requests SET amount = ? WHERE order_id = ? AND amount > ?", most,
    db.bin("ord", order_id), most)
end


function requests.withdraw(tx, order_id)
  local done, e = tx:exec("DELETE FROM payment_requests WHERE order_id = ?",
    db.bin("ord", order_id))
  if not done then return nil, e end
  return done.affected == 1
end


return requests
