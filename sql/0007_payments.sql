-- 0007 payments: one row for each time a provider was asked for money, and the ledger.
--
-- An attempt whose answer never came stays visible (`unknown`) until it is
-- looked up; rows are never deleted. `idem_key` goes to the provider and is
-- derived from the attempt: the same key never charges twice.
--
-- Undo: forward only; a later migration would drop the tables.

CREATE TABLE payments (
    id           BINARY(16)   NOT NULL,
    cart_id      BINARY(16)       NULL COMMENT 'an attempt is older than its order',
    order_id     BINARY(16)       NULL,
    provider     VARCHAR(64)  NOT NULL COMMENT 'plugin name without "payment-"',
    state        ENUM('created', 'sending', 'unknown', 'requires_action', 'authorized', 'captured', 'declined',
                      'voided', 'failed', 'refunded') NOT NULL DEFAULT 'created',
    currency     CHAR(3) CHARACTER SET ascii NOT NULL,
    amount       BIGINT       NOT NULL,
    idem_key     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    provider_ref VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'NULL until the provider has answered',
    reason       VARCHAR(255)     NULL COMMENT 'why it was declined',
    action       JSON             NULL COMMENT 'what the shopper has to do',
    data         JSON         NOT NULL COMMENT 'what the client gave for the provider (a token, never a card)',
    fence        BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'writes of an older holder are refused',
    created_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY payments_idem (provider, idem_key),
    KEY payments_cart (cart_id, id),
    KEY payments_order (order_id, id),
    KEY payments_open (state, updated_at) COMMENT 'sending and unknown ones are looked up',
    KEY payments_ref (provider, provider_ref),
    CONSTRAINT payments_amount CHECK (amount >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE ledger_entries (
    id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    transaction_id BINARY(16)   NOT NULL COMMENT 'entries of one transaction and currency sum to zero',
    account        VARCHAR(64) CHARACTER SET ascii NOT NULL COMMENT 'receivable, sales, tax, shipping, discounts, cash:<provider>',
    currency       CHAR(3) CHARACTER SET ascii NOT NULL,
    amount         BIGINT       NOT NULL COMMENT 'debit positive, credit negative',
    order_id       BINARY(16)       NULL,
    payment_id     BINARY(16)       NULL,
    at             DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY ledger_transaction (transaction_id),
    KEY ledger_order (order_id),
    KEY ledger_account (account, currency, at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE payment_test_attempts (
    idem_key     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    provider_ref VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    token        VARCHAR(64)  NOT NULL,
    state        VARCHAR(32) CHARACTER SET ascii NOT NULL COMMENT 'authorized, declined, requires_action, captured, voided, refunded',
    currency     CHAR(3) CHARACTER SET ascii NOT NULL,
    amount       BIGINT       NOT NULL,
    created_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (idem_key),
    UNIQUE KEY payment_test_ref (provider_ref)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COMMENT 'the memory of the pretended provider of payment-test';
