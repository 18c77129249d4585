-- 0008 sagas: flows of several steps, stored step by step.
--
-- `step` is the number of steps that are done. A flow whose claim ran out was
-- dropped by its runner: whoever claims it goes on after that step.
--
-- Undo: forward only; a later migration would drop the table.

CREATE TABLE sagas (
    id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    name          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    aggregate     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'public id of what it works on',
    state         ENUM('running', 'waiting', 'done', 'undone', 'failed') NOT NULL DEFAULT 'running'
                  COMMENT 'waiting: for an outcome or for the shopper',
    step          INT          NOT NULL DEFAULT 0,
    data          JSON         NOT NULL COMMENT 'what later steps need of earlier ones',
    claim         BIGINT UNSIGNED NOT NULL DEFAULT 0,
    claimed_until DATETIME(3)      NULL COMMENT 'NULL: nobody is at it',
    attempts      INT          NOT NULL DEFAULT 0,
    next_at       DATETIME(3)      NULL COMMENT 'a waiting one is looked at again then',
    error         VARCHAR(500)     NULL,
    created_at    DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at    DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY sagas_aggregate (name, aggregate) COMMENT 'never two of one flow on one thing',
    KEY sagas_stuck (state, claimed_until),
    KEY sagas_waiting (state, next_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
