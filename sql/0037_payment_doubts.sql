-- 0037 payment_doubts: payments that were given up while they may have been on their way still.
--
-- Why: that a payment is to be looked up again stood in its `data`, so each minute all payments that
--      were refused within three days were read for it: under card testing hundreds of thousands.
--      Here are only those that are looked for, in the order in which they are due. A payment that
--      nobody doubts pays nothing for it, as it would for one more index.
--
-- Locking: none. What is marked in `data`, also by a server of before that runs meanwhile, is taken
--          over piece by piece afterwards (till.store.doubts).
-- Undo:    forward only; a later migration would drop the table.

CREATE TABLE payment_doubts (
    payment_id   BINARY(16)  NOT NULL,
    looks        TINYINT     NOT NULL DEFAULT 0 COMMENT 'how often the provider has said that nothing is held',
    look_at      DATETIME(3) NOT NULL,
    silent_since DATETIME(3)     NULL COMMENT 'since when no look has had an answer',
    told         BOOLEAN     NOT NULL DEFAULT FALSE COMMENT 'staff have an alert of it',
    PRIMARY KEY (payment_id),
    KEY payment_doubts_due (look_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
