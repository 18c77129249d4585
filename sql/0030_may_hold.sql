-- 0030 may hold: a cart's own word for whether it has stock, and the ledger's index that is used.
--
-- Why: each change of a cart asked the reservations whether it holds any, which was a third of what
--      MariaDB does for it; nearly always none is held. Carts from before, and those that a server
--      of before makes meanwhile, are taken to hold some. What such a server reserves for a cart of a
--      newer one is not noted: it ends when it would have, and completing the cart sees what is held.
--      Of the ledger's indexes one was for single transactions and one for accounts, whose sums read
--      the whole table anyway, four rows an order; what a payment comes to had none.
--
-- Locking: the column is instant, dropping an index too; the other one is added online.
-- Undo:    forward only; a later migration would drop the column and add the indexes.

ALTER TABLE carts
    ADD COLUMN may_hold BOOLEAN NOT NULL DEFAULT TRUE COMMENT 'FALSE: nothing was ever reserved for it';

ALTER TABLE ledger_entries
    ADD KEY ledger_payment (payment_id),
    DROP KEY ledger_transaction,
    DROP KEY ledger_account;
