-- till/store/abandoned - payments that pay for no order, and that nobody comes back for.
--
--   find(before_ms, limit) -> payments, who was looked at longest ago first: without an order, not
--                       touched since, of carts that hold nothing any more
--   touch(id)           it was looked at; it comes again when as much time has gone by
--   let_go(tx, p, claim [, why]) -> true | false    it pays for nothing from now on. False where it
--                       is not as it was read, has an order, or the claim of its cart is not ours
--                       any more (claim nil: the cart is completed, or gone)
--   spoken(ids), settled(ids) -> { id = true }    whose outcome is known; whose money nobody
--                       waits for any more
--   given_back(tx, p, reason)   what was let go of already pays for nothing, and why
local db = require "till.store.db"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"

local abandoned = {}

local FIND = "SELECT " .. payments.COLUMNS .. " FROM payments WHERE order_id IS NULL"
  .. " AND state IN ('requires_action', 'sending', 'unknown', 'authorized', 'captured')"
  .. " AND updated_at < ? AND NOT EXISTS (SELECT 1 FROM reservations r"
  .. " WHERE r.cart_id = payments.cart_id AND r.state = 'held' AND r.expires_at > ?)"
  .. " ORDER BY updated_at LIMIT ?"


function abandoned.find(before_ms, limit)
  local rows, e = sql.query(FIND, db.at_ms(before_ms), db.now(), limit)
  if not rows then return nil, e end
  local out = {}
  for i, row in ipairs(rows) do out[i] = payments.of_row(row) end
  return out
end


function abandoned.touch(payment_id)
  return sql.exec("UPDATE payments SET updated_at = ? WHERE id = ?", db.now(),
    db.bin("pay", payment_id))
end


function abandoned.let_go(tx, p, claim, why)
  local text = "UPDATE payments SET data = JSON_MERGE_PATCH(data, ?), updated_at = ? WHERE id = ?"
    .. " AND state = ? AND order_id IS NULL"
  local args = { db.to_json { till = { let_go = why or "abandoned" } }, db.now(),
    db.bin("pay", p.id), p.state }
  if claim then
    text = text .. " AND EXISTS (SELECT 1 FROM carts c WHERE c.id = ? AND c.claim = ?"
      .. " AND c.state = 'completing')"
    args[5], args[6] = db.bin("cart", p.cart_id), claim
  end
  local done, e = tx:exec(text, unpack(args))
  if not done then return nil, e end
  return done.affected == 1
end


function abandoned.given_back(tx, p, reason)
  return tx:exec("UPDATE payments SET data = JSON_MERGE_PATCH(data, ?), reason = ?, updated_at = ?"
    .. " WHERE id = ? AND state IN ('voided', 'refunded', 'declined', 'failed')"
    .. " AND order_id IS NULL", db.to_json { till = { let_go = "given_back" } }, reason:sub(1, 255),
    db.now(), db.bin("pay", p.id))
end


function abandoned.spoken(ids)
  return db.ids_of("pay", "SELECT id FROM payments WHERE id IN (%s) AND (order_id IS NOT NULL"
    .. " OR state NOT IN ('requires_action', 'sending', 'unknown'))", ids)
end


function abandoned.settled(ids)
  return db.ids_of("pay", "SELECT id FROM payments WHERE id IN (%s) AND (order_id IS NOT NULL"
    .. " OR state IN ('voided', 'refunded', 'declined', 'failed', 'disputed', 'lost'))", ids)
end


return abandoned
