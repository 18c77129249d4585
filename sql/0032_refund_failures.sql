-- 0032 refund failures: refunds that a provider has taken, and that did not get there.
--
-- A cancellation, return or refund of which that is so is `pending` again, with `failed_ref`, why and
-- since when; its flow is parked until staff have decided. `refund_ref` is what the provider calls
-- the refund that it was done with, so that the row is found by it as long as refunds may fail. Of
-- those from before their flow knows it.
--
-- `orders.paid_at` is when an order was paid in full first: that is told once (`order.paid`). Of those
-- from before see 0036.
--
-- Locking: all of it is instant.
-- Undo:    forward only; a later migration would drop the columns.

ALTER TABLE cancellations
    ADD COLUMN refund_ref VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'the provider''s id of the refund',
    ADD COLUMN failed_ref VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'of the last one that failed',
    ADD COLUMN failure    VARCHAR(255) NULL COMMENT 'why it did',
    ADD COLUMN failed_at  DATETIME(3)  NULL;

ALTER TABLE refunds
    MODIFY state ENUM('requested', 'pending', 'done', 'refused', 'rejected', 'expired', 'failed') NOT NULL
        COMMENT 'pending: the money is not back yet; refused: the provider will not; failed: it did not get there';

ALTER TABLE orders
    ADD COLUMN paid_at DATETIME(3) NULL COMMENT 'when it was paid in full first';
