-- 0038 promotion customers: who used a promotion is told by the very letters of his address.
--
-- Why: the table's collation takes é and e for one letter, so a limit for each customer that
--      rene@example.org had used up was used up for rené@example.org as well. Letters are small in
--      every script now, as the collation saw to before, and nothing else is made the same.
--
-- What was counted together is counted anew from the orders, of those addresses alone.
--
-- Locking: copies promotion_customers, one row for each customer of each promotion; completions
--          with a promotion wait meanwhile.
-- Undo:    forward only.

UPDATE promotion_customers SET customer = LOWER(customer) WHERE BINARY customer <> LOWER(customer);

ALTER TABLE promotion_customers
    MODIFY customer VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'lower-case email: a guest counts too';

INSERT INTO promotion_customers (promotion_id, customer, used)
    SELECT r.promotion_id, LOWER(r.customer) COLLATE utf8mb4_bin AS address, COUNT(DISTINCT r.order_id)
    FROM (SELECT DISTINCT promotion_id, customer FROM promotion_redemptions
          WHERE LENGTH(customer) <> CHAR_LENGTH(customer)) f
    JOIN promotion_redemptions r ON r.promotion_id = f.promotion_id AND r.customer = f.customer
    GROUP BY r.promotion_id, address
    ON DUPLICATE KEY UPDATE used = VALUES(used);
