-- 0012 carts_state: an index that nothing reads.
--
-- Why: it was for a list of abandoned carts that does not exist, and each
--      change of a cart moves its row in it, for `updated_at` is its end: a
--      tenth of what MariaDB does for a change.
--
-- Locking: dropping an index is instant.
-- Undo:    forward only; a later migration would add the index.

ALTER TABLE carts DROP INDEX carts_state;
