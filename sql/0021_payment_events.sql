-- 0021 payment_events: what has happened to each payment, one row each, in order. Rows are only ever
-- added; amounts are summed up from them (core/trade/attempt.h), and the row of `payments` is a
-- projection that is written in the same transaction.
--
-- An event of a provider bears the provider's id of that very thing as `reference`: under one
-- (payment, kind, reference) it is written down once. One that the shop wrote before it knew the id
-- has none, and is given it once.
--
-- Payments from before are given the events that lead to what their row says; seq may have gaps.
--
-- Locking: new table. The columns and the longer ENUM are instant. Making the events reads `payments`
--          once, and blocks nobody.
-- Undo:    forward only; a later migration would drop the table and the columns.

CREATE TABLE payment_events (
    payment_id BINARY(16)   NOT NULL,
    seq        INT UNSIGNED NOT NULL,
    kind       VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'as core/trade/attempt.h names it',
    amount     BIGINT       NOT NULL DEFAULT 0 COMMENT 'of this event; 0 where its kind has none',
    reference  VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'the provider''s id of it',
    reason     VARCHAR(255)     NULL,
    actor      VARCHAR(64)  NOT NULL DEFAULT 'system',
    fee        BIGINT           NULL COMMENT 'that the provider kept for it',
    at         DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (payment_id, seq),
    UNIQUE KEY payment_events_reference (payment_id, kind, reference),
    KEY payment_events_at (kind, at),
    CONSTRAINT payment_events_amount CHECK (amount >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE payments
    MODIFY COLUMN state ENUM('created', 'sending', 'unknown', 'requires_action', 'authorized', 'captured', 'declined',
                             'voided', 'failed', 'refunded', 'disputed', 'won', 'lost') NOT NULL DEFAULT 'created',
    ADD COLUMN disputed_amount BIGINT NOT NULL DEFAULT 0 COMMENT 'taken back by a bank for now',
    ADD COLUMN lost_amount BIGINT NOT NULL DEFAULT 0 COMMENT 'of disputes that were lost';

INSERT INTO payment_events (payment_id, seq, kind, amount, actor, at)
SELECT id, 1, 'created', amount, 'migration', created_at FROM payments;

INSERT INTO payment_events (payment_id, seq, kind, actor, at)
SELECT id, 2, 'send', 'migration', created_at FROM payments
WHERE state NOT IN ('created', 'voided') OR (state = 'voided' AND order_id IS NOT NULL);

INSERT INTO payment_events (payment_id, seq, kind, amount, actor, at)
SELECT id, 3, 'authorized', amount, 'migration', created_at FROM payments
WHERE state IN ('authorized', 'captured', 'refunded') OR (state = 'voided' AND order_id IS NOT NULL);

INSERT INTO payment_events (payment_id, seq, kind, reason, actor, at)
SELECT id, 3, IF(state = 'failed', 'not_found', state), reason, 'migration', updated_at FROM payments
WHERE state IN ('unknown', 'requires_action', 'declined', 'failed');

-- Of an authorized one what will not be captured; where all of it was let go the provider is still to be asked.
INSERT INTO payment_events (payment_id, seq, kind, amount, actor, at)
SELECT id, 4, 'voided', IF(state = 'authorized', released_amount, amount - COALESCE(capture_amount, amount)), 'migration',
       updated_at
FROM payments
WHERE (state = 'authorized' AND released_amount > 0 AND released_amount < amount)
   OR (state IN ('captured', 'refunded') AND COALESCE(capture_amount, amount) < amount);

INSERT INTO payment_events (payment_id, seq, kind, amount, actor, at)
SELECT id, 5, 'captured', COALESCE(capture_amount, amount), 'migration', updated_at FROM payments
WHERE state IN ('captured', 'refunded');

INSERT INTO payment_events (payment_id, seq, kind, amount, reason, actor, at)
SELECT id, 6, IF(state = 'voided', 'voided', 'refunded'),
       IF(state = 'voided', IF(order_id IS NULL, 0, amount), refunded_amount), reason, 'migration', updated_at
FROM payments
WHERE state IN ('voided', 'refunded') OR (state = 'captured' AND refunded_amount > 0);
