-- 0025 reconciliation: what moved on the providers' accounts, compared with payment_events.
--
-- `settlements` is one comparison of a period with a provider. `is_open` is 1 or NULL, so that of a
-- provider one is under way. Whoever dies in between is followed by somebody who does it again from
-- the beginning: what is done already finds nothing to do.
--
-- `settlement_items` has each movement at a provider once, whichever comparisons have seen it, with
-- the event of ours (payment_id, seq) that it is: no event is two of them. Its fee is booked once:
-- `fee_booked` is set in the transaction that posts it. Rows of `missing_there` are events of ours
-- that the provider does not know; their reference is "payment id:seq".
--
-- Locking: new tables.
-- Undo:    forward only; a later migration would drop the tables.

CREATE TABLE settlements (
    id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    provider      VARCHAR(64) CHARACTER SET ascii NOT NULL,
    state         ENUM('running', 'done', 'failed') NOT NULL DEFAULT 'running',
    is_open       TINYINT          NULL DEFAULT 1 COMMENT '1: not done; else NULL',
    from_at       DATETIME(3)  NOT NULL,
    to_at         DATETIME(3)  NOT NULL COMMENT 'not itself',
    claim         BIGINT UNSIGNED NOT NULL DEFAULT 0,
    claimed_until DATETIME(3)      NULL,
    resolved      INT          NOT NULL DEFAULT 0 COMMENT 'payments whose outcome was found out',
    tries         INT          NOT NULL DEFAULT 0,
    error         VARCHAR(255)     NULL COMMENT 'of the last try',
    actor         VARCHAR(64)  NOT NULL DEFAULT 'system',
    started_at    DATETIME(3)  NOT NULL,
    finished_at   DATETIME(3)      NULL,
    PRIMARY KEY (id),
    UNIQUE KEY settlements_open (provider, is_open),
    KEY settlements_state (state, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE settlement_items (
    id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    provider      VARCHAR(64) CHARACTER SET ascii NOT NULL,
    reference     VARCHAR(191) COLLATE utf8mb4_bin NOT NULL COMMENT 'the provider''s id of the movement',
    kind          VARCHAR(32) CHARACTER SET ascii NOT NULL COMMENT 'charge, refund, dispute, …; of missing_there the event''s',
    source        VARCHAR(191) COLLATE utf8mb4_bin NULL COMMENT 'the provider''s id of what moved it',
    payment_id    BINARY(16)       NULL,
    seq           INT UNSIGNED     NULL COMMENT 'of payment_events: what it is in our books',
    currency      CHAR(3) CHARACTER SET ascii NOT NULL,
    amount        BIGINT       NOT NULL COMMENT 'before the fee; negative: it left the account',
    fee           BIGINT       NOT NULL DEFAULT 0,
    verdict       ENUM('matched', 'differs', 'missing_here', 'missing_there', 'other') NOT NULL,
    detail        JSON         NOT NULL,
    fee_booked    TINYINT(1)   NOT NULL DEFAULT 0,
    at            DATETIME(3)  NOT NULL COMMENT 'by the provider',
    settlement_id BIGINT UNSIGNED NOT NULL COMMENT 'that judged it last',
    PRIMARY KEY (id),
    UNIQUE KEY settlement_items_reference (provider, reference),
    UNIQUE KEY settlement_items_event (payment_id, seq),
    KEY settlement_items_at (provider, at),
    KEY settlement_items_verdict (provider, verdict, at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
