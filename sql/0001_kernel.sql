-- 0001 kernel: what core/trade itself writes, below everything that is traded.
--
-- idempotency_records: one effect for one key (core/trade/idem.h). The scope is
-- kept as a hash, for it is made of a credential. `claim` names the runner: a
-- runner that was taken over can change nothing any more.
--
-- outbox: events, written in the transaction that they tell of (core/trade/
-- outbox.h). A claimed event stays `pending` and only is not available before
-- its lease is over: so a worker that died needs no clearing up, and the index
-- `outbox_due` leads from the longest due event on without ever meeting a
-- delivered one. `outbox_order` answers "is there an older one of this
-- aggregate?" in one step.
--
-- Locking: idempotency rows are locked for one statement, or to the end of the
-- transaction that finishes them. Claiming of events skips what is locked.
-- Whoever appends events of one aggregate from two transactions must hold that
-- aggregate's row, or the order of the events is nobody's promise.
-- Undo:    forward only; a later migration would drop both tables.

CREATE TABLE idempotency_records (
    scope         BINARY(32)      NOT NULL COMMENT 'SHA-256 of credential and route',
    idem_key      VARBINARY(255)  NOT NULL COMMENT 'as the client sent it, without quotes',
    fingerprint   BINARY(32)      NOT NULL COMMENT 'of method, path and body; another one under the same key is refused',
    state         ENUM('running', 'done') NOT NULL,
    claim         BIGINT UNSIGNED NOT NULL COMMENT 'random, new for each runner; below 2^53',
    claimed_until DATETIME(3)     NOT NULL COMMENT 'afterwards a running record may be taken over',
    runs          INT UNSIGNED    NOT NULL DEFAULT 1 COMMENT 'more than one: a runner died',
    http_status   SMALLINT UNSIGNED   NULL COMMENT 'NULL while it runs',
    headers       MEDIUMBLOB          NULL,
    body          MEDIUMBLOB          NULL,
    created_at    DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    finished_at   DATETIME(3)         NULL,
    PRIMARY KEY (scope, idem_key),
    KEY idempotency_records_age (created_at) COMMENT 'the purge takes the oldest'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE outbox (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'order within an aggregate',
    aggregate    VARCHAR(80)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'kind:id, e.g. order:ord_01J...',
    type         VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'dotted, e.g. order.placed',
    payload      JSON            NOT NULL,
    traceparent  VARCHAR(55)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '' COMMENT 'of the request it came from',
    state        ENUM('pending', 'done', 'dead') NOT NULL DEFAULT 'pending' COMMENT 'dead: given up, for staff to see',
    available_at DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'not before; while claimed, the end of the lease',
    attempts     INT UNSIGNED    NOT NULL DEFAULT 0,
    claim        BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'of the last claimer, random; 0: nobody has it',
    last_error   VARCHAR(500)        NULL,
    created_at   DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    done_at      DATETIME(3)         NULL,
    PRIMARY KEY (id),
    KEY outbox_due (state, available_at, id) COMMENT 'claims, the list of the dead, the purge',
    KEY outbox_order (aggregate, state, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
