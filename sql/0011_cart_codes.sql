-- 0011 cart_codes: a cart is one row.
--
-- Why: nearly every request reads a cart whole, and every change prices it
--      anew: `priced` is written with it and has each line with its id, its
--      variant and its quantity. A table of lines beside it said the same once
--      more, for a transaction of its own where one UPDATE does. The codes
--      that were entered come along as a column.
-- cart_lines and cart_promotions are not written any more. They stay until a
-- later migration, so that a server of the version before, which reads them,
-- can run while this one is started.
--
-- Locking: adding a column that may be NULL is instant; the UPDATE touches only
--          carts with a code.
-- Undo:    forward only; a later migration would drop the column.

ALTER TABLE carts
    ADD COLUMN codes JSON NULL COMMENT 'list of codes as they were entered: trimmed, upper case';

UPDATE carts c SET c.codes = (SELECT JSON_ARRAYAGG(p.code ORDER BY p.code) FROM cart_promotions p WHERE p.cart_id = c.id),
    c.updated_at = c.updated_at
 WHERE EXISTS (SELECT 1 FROM cart_promotions p WHERE p.cart_id = c.id);
