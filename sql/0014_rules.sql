-- 0014 rules: what merchants write, with its history.
--
-- What is live stands in the live generation (rules/<name>.json and .lua), not
-- here: `published` and `state` remember what the last publication was asked
-- for. A version is never changed: an edit is the next one. The trace of an
-- order's price names a rule's hash, which finds the very text for ever.
--
-- rule_events is the audit: an event is written as `begun` before anything is
-- done, and says afterwards how it ended; one that stays `begun` is of a server
-- that died in the middle, and the live generation tells how it ended.
--
-- rule_kills and rules_aside are keyed by the hash: a rule that is published
-- anew with another text begins anew.
--
-- Locking: whoever changes a rule, or counts a kill of it, holds its row.
-- Undo:    forward only; a later migration would drop the tables.

CREATE TABLE rules (
    id         BINARY(16)   NOT NULL,
    name       VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'as prices name it; never changed',
    hook       VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    title      VARCHAR(200) NOT NULL COMMENT 'of the latest version',
    state      ENUM('draft', 'published', 'unpublished', 'set_aside', 'archived') NOT NULL DEFAULT 'draft',
    version    INT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'the latest in rule_versions',
    published  INT UNSIGNED     NULL COMMENT 'the version that was published last, NULL when unpublished',
    revision   BIGINT       NOT NULL DEFAULT 1 COMMENT 'the ETag',
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY rules_name (name),
    KEY rules_state (state, id) COMMENT 'the list by state'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE rule_versions (
    rule_id    BINARY(16)   NOT NULL,
    number     INT UNSIGNED NOT NULL,
    hash       BINARY(32)   NOT NULL COMMENT 'of manifest and text',
    manifest   MEDIUMTEXT   CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'JSON: title, schema, args, when, priority, starts_at, ends_at; as text, the hash is over its bytes',
    text       MEDIUMTEXT   CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    author     VARCHAR(64)  NOT NULL COMMENT 'public id of a person or a key',
    reason     VARCHAR(500) NOT NULL,
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (rule_id, number),
    KEY rule_versions_hash (hash) COMMENT 'the text behind a price',
    CONSTRAINT rule_versions_of_rule FOREIGN KEY (rule_id) REFERENCES rules (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE rule_events (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    rule_id    BINARY(16)   NOT NULL,
    type       ENUM('published', 'unpublished', 'set_aside', 'restored') NOT NULL,
    outcome    ENUM('begun', 'done', 'refused') NOT NULL,
    version    INT UNSIGNED     NULL,
    generation VARCHAR(64)  CHARACTER SET ascii NULL COMMENT 'that came of it',
    author     VARCHAR(64)  NOT NULL,
    reason     VARCHAR(500) NOT NULL,
    detail     VARCHAR(2000)    NULL COMMENT 'why it was refused, or set aside',
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY rule_events_rule (rule_id, id),
    CONSTRAINT rule_events_of_rule FOREIGN KEY (rule_id) REFERENCES rules (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE rule_kills (
    id   BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    hash BINARY(32)  NOT NULL,
    code VARCHAR(16) CHARACTER SET ascii NOT NULL COMMENT 'budget, deadline, memory, depth or crash',
    at   DATETIME(3) NOT NULL,
    PRIMARY KEY (id),
    KEY rule_kills_window (hash, at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE rules_aside (
    hash   BINARY(32)    NOT NULL,
    name   VARCHAR(64)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    reason VARCHAR(2000) NOT NULL,
    at     DATETIME(3)   NOT NULL,
    PRIMARY KEY (hash),
    KEY rules_aside_name (name) COMMENT 'what a new publication restores'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
