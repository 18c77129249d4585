-- 0022 webhooks: what providers told, each event once.
--
-- webhook_events is the inbox: one row for each event of a provider, whether
-- it was sent to us or we asked for it. It is written before the provider is
-- answered, and applied by the jobs workers: `next_at` is when it is due, and
-- for as long as one is at it its lease; `claim` says who.
--
-- webhook_polls: up to when a provider was asked for what never came.
--
-- Locking: new tables only. A claim locks the rows that it takes; the
-- transaction that applies an event locks its order and payment first, then
-- its row here.
-- Undo:    DROP TABLE webhook_polls, webhook_events. Providers are asked again
--          for what they told meanwhile.

CREATE TABLE webhook_events (
    id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    provider    VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the plugin that speaks for it, payment-stripe',
    event_id    VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'as the provider names it',
    type        VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject     VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'what it is about: events of one subject are applied together',
    state       ENUM('received', 'applied', 'ignored', 'parked', 'failed') NOT NULL DEFAULT 'received'
                COMMENT 'parked: it does not fit, for staff; failed: given up after many tries',
    via         ENUM('webhook', 'poll') NOT NULL,
    tries       INT UNSIGNED NOT NULL DEFAULT 0,
    claim       BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'who took it last',
    next_at     DATETIME(3)  NOT NULL COMMENT 'of one that is received: when it is due',
    reason      VARCHAR(255) NULL COMMENT 'why it is parked or failed, or is tried again',
    payment_id  BINARY(16)   NULL,
    at          DATETIME(3)  NOT NULL COMMENT 'when it happened, by the provider',
    received_at DATETIME(3)  NOT NULL,
    applied_at  DATETIME(3)  NULL COMMENT 'when it left `received`',
    body        MEDIUMBLOB   NOT NULL COMMENT 'the bytes that came',
    PRIMARY KEY (id),
    UNIQUE KEY webhook_event (provider, event_id),
    KEY webhook_due (state, next_at, id),
    KEY webhook_claim (claim),
    KEY webhook_purge (received_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE webhook_polls (
    provider VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    seen_at  DATETIME(3) NOT NULL COMMENT 'all that happened before it has been read',
    PRIMARY KEY (provider)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
