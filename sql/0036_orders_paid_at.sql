-- 0036 paid_at: of orders that were paid before there was such a column it is when they were placed.
--
-- Locking: it reads `orders` once, and keeps those that it has changed to the end: who captures,
--          cancels or sends an old order meanwhile waits, and is answered 503 or 504 after 5 s. Of a
--          million paid orders that is some half a minute. It may be run again, also once the last
--          server of before is gone: what that took money for meanwhile has none.
-- Undo:    none is needed.

UPDATE orders SET paid_at = placed_at, updated_at = updated_at
    WHERE paid_at IS NULL AND payment_status IN ('captured', 'partially_refunded', 'refunded');
