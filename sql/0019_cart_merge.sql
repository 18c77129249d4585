-- 0019 cart_merge: a cart that went into another one.
--
-- Why: at login what a shopper gathered as a guest and the cart that he has as
--      a customer become one. The guest's cart stays as a row that says where
--      its lines went, so that a login that is repeated, or a second device
--      that still has its id, finds the cart and adds nothing twice.
--
-- Locking: a value at the end of an ENUM and a column that may be NULL are
--          instant.
-- Undo:    forward only; a later migration would make `merged` carts
--          `completed` ones without an order, and drop the column.

ALTER TABLE carts
    MODIFY state ENUM('open', 'completing', 'completed', 'merged') NOT NULL DEFAULT 'open',
    ADD COLUMN merged_into BINARY(16) NULL COMMENT 'state merged: the cart that has its lines';
