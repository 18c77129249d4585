-- 0016 stock watch: what is looked after, what was found, and who is told.
--
-- alerts: one row for each condition of a kind and a subject, open or closed.
-- An event is appended where one opens, in the same transaction, and not again
-- before it was closed.
--
-- stock_checks: passes over all stock, slice by slice. `position` is the row of
-- `stock` up to which a pass has come: who dies in between is followed by
-- somebody who goes on there. stock_findings is what they found.
--
-- stock_checkpoints: the sum of a row's events before `at`, so that a pass reads
-- the events since then only. A checkpoint is hours behind: no transaction that
-- could still add an event before it is open by then. It may be deleted.
--
-- Locking: a check reads without locks. A repair locks the row of `stock`, then
--          writes its event, finding and alert.
-- Undo:    forward only; a later migration would drop the tables.

CREATE TABLE alerts (
    id        BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    kind      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'type of its event, e.g. stock.low',
    subject   VARCHAR(160) COLLATE utf8mb4_bin NOT NULL COMMENT 'public id of what it is about',
    state     ENUM('open', 'closed') NOT NULL DEFAULT 'open',
    level     BIGINT       NOT NULL DEFAULT 0 COMMENT 'the number that it goes by, the last time',
    times     BIGINT       NOT NULL DEFAULT 0 COMMENT 'seen since it was opened',
    detail    JSON         NOT NULL,
    opened_at DATETIME(3)  NOT NULL,
    seen_at   DATETIME(3)  NOT NULL,
    closed_at DATETIME(3)      NULL,
    PRIMARY KEY (id),
    UNIQUE KEY alerts_subject (kind, subject),
    KEY alerts_state (state, kind, seen_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE stock_thresholds (
    variant_id BINARY(16) NOT NULL,
    low_at     BIGINT         NULL COMMENT 'stock.low at so many units that can be sold',
    cover_days INT            NULL COMMENT 'stock.low where it lasts for fewer days, by what was sold of late',
    updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (variant_id),
    CONSTRAINT stock_thresholds_variant FOREIGN KEY (variant_id) REFERENCES variants (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE stock_checks (
    id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    state         ENUM('running', 'done') NOT NULL DEFAULT 'running',
    repairs       TINYINT(1)   NOT NULL COMMENT '0: it only looks',
    variant_id    BINARY(16)   NOT NULL DEFAULT 0x00 COMMENT 'position: this row of stock is looked at',
    location_id   BINARY(16)   NOT NULL DEFAULT 0x00,
    claim         BIGINT UNSIGNED NOT NULL DEFAULT 0,
    claimed_until DATETIME(3)      NULL,
    checked       BIGINT       NOT NULL DEFAULT 0 COMMENT 'rows of stock',
    differences   BIGINT       NOT NULL DEFAULT 0,
    repaired      BIGINT       NOT NULL DEFAULT 0,
    actor         VARCHAR(64)  NOT NULL DEFAULT 'system',
    started_at    DATETIME(3)  NOT NULL,
    finished_at   DATETIME(3)      NULL,
    PRIMARY KEY (id),
    KEY stock_checks_state (state, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE stock_findings (
    id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    check_id    BIGINT UNSIGNED NOT NULL,
    kind        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    subject     VARCHAR(160) COLLATE utf8mb4_bin NOT NULL COMMENT 'public id of a variant, an order or a cart',
    location_id BINARY(16)   NOT NULL DEFAULT 0x00 COMMENT '0: of all',
    detail      JSON         NOT NULL COMMENT 'what was there, and what ought to be',
    repaired    TINYINT(1)   NOT NULL,
    at          DATETIME(3)  NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY stock_findings_once (check_id, kind, subject, location_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE stock_checkpoints (
    variant_id  BINARY(16)  NOT NULL,
    location_id BINARY(16)  NOT NULL,
    at          DATETIME(3) NOT NULL COMMENT 'events before',
    on_hand     BIGINT      NOT NULL,
    reserved    BIGINT      NOT NULL,
    PRIMARY KEY (variant_id, location_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
