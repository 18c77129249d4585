-- till/store/payment_marks - what is changed of a payment's row and is no event of it.
--
--   give_to(tx, id, order_id)      it is one of that order's from now on
--   mark(tx, id, why or nil)       is anything of it captured from now on?
--   was_let_go(tx, id, amount)     so much of it in all
--   as_folded() -> how many | nil, err     a server of before calls a payment `won` with its last
--                                  dispute, also where another one was lost: its events come to
--                                  `lost` (core/trade/attempt.h). Needs no lock
--
-- Under the locks of order and payment.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local marks = {}


--- Of one that succeeded, and whose row is ours.
function marks.give_to(tx, payment_id, order_id)
  return tx:exec("UPDATE payments SET order_id = ?, updated_at = ? WHERE id = ?",
    db.bin("ord", order_id), db.now(), db.bin("pay", payment_id))
end


--- why: nothing of it is captured from now on; nil: it may be again.
function marks.mark(tx, payment_id, why)
  return tx:exec("UPDATE payments SET data = JSON_MERGE_PATCH(data, ?), updated_at = ?"
    .. " WHERE id = ?", why and db.to_json { till = { let_go = why } }
    or '{"till":{"let_go":null}}', db.now(), db.bin("pay", payment_id))
end


--- No more of it was let go of than that: the rest was captured after all.
function marks.was_let_go(tx, payment_id, amount)
  return tx:exec("UPDATE payments SET released_amount = ?, updated_at = ? WHERE id = ?", amount,
    db.now(), db.bin("pay", payment_id))
end


function marks.as_folded()
  local done, e = sql.exec("UPDATE payments SET state = 'lost', updated_at = updated_at"
    .. " WHERE state = 'won' AND lost_amount > 0")
  if not done then return nil, e end
  return done.affected
end


return marks
