-- 0033 payouts: what providers pay out to the shop's bank, and which movements each payout holds.
--
-- `payouts` has each payout of a provider once, under its reference. Money that leaves the account
-- is booked (cash:<provider> to bank:<provider>) in the transaction that writes its movement into
-- `settlement_items`; `fee_booked` of that row says that it was. `is_open` is 1 or NULL: one that is
-- open is asked about by every run of the reconciliation, until how it ended is known, and what it
-- holds. What it holds are the rows of `settlement_items` that name it as `payout`.
--
-- `balances` of a run: what our books and the provider say of the account at its end.
--
-- Locking: a new table; columns are added at once, the index online; writes go on.
-- Undo:    forward only; a later migration would drop table, columns and index.

CREATE TABLE payouts (
    id               BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    provider         VARCHAR(64) CHARACTER SET ascii NOT NULL,
    reference        VARCHAR(191) COLLATE utf8mb4_bin NOT NULL COMMENT 'the provider''s id of the payout',
    currency         CHAR(3) CHARACTER SET ascii NOT NULL,
    amount           BIGINT       NOT NULL COMMENT 'that goes to the bank; negative: the bank gives it',
    state            ENUM('created', 'in_transit', 'paid', 'failed', 'canceled') NOT NULL DEFAULT 'created',
    reason           VARCHAR(255)     NULL COMMENT 'why it failed',
    is_listed        TINYINT(1)       NULL COMMENT 'does the provider tell what it holds? NULL: not yet',
    movements        INT              NULL COMMENT 'that it holds; NULL: not known',
    movements_amount BIGINT           NULL COMMENT 'their sum after fees; NULL: not known',
    is_open          TINYINT          NULL DEFAULT 1 COMMENT '1: it is asked about again; else NULL',
    at               DATETIME(3)  NOT NULL COMMENT 'by the provider',
    arrives_at       DATETIME(3)      NULL,
    settlement_id    BIGINT UNSIGNED NOT NULL COMMENT 'that heard of it last',
    PRIMARY KEY (id),
    UNIQUE KEY payouts_reference (provider, reference),
    KEY payouts_at (provider, at),
    KEY payouts_open (provider, is_open)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE settlement_items
    ADD COLUMN payout VARCHAR(191) COLLATE utf8mb4_bin NULL COMMENT 'reference of the payout that holds it',
    ADD KEY settlement_items_payout (provider, payout);

ALTER TABLE settlements
    ADD COLUMN balances JSON NULL COMMENT 'at its end, by currency: here and there';
