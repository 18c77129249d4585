-- 0013 generations: the code of the shop, with its history, and which of it is live.
--
-- Why: a generation (core/vm/bundle.h) was a file beside the server, so a
--      machine knew two of them, and nobody who had made them, when and why.
--
-- generation_files holds each text once, packed, by its SHA-256; a tree is one
-- part of a generation (library, plugins, configuration, rules), named by the
-- SHA-256 of its list of paths and texts. A generation names four trees: a
-- merchant who changes a rule adds a text, a tree of rules and a row.
--
-- generation_live has one row, which is the truth about what is live (sequence
-- 0: nothing has been yet). Who stores a generation holds it shared, and the
-- purge holds it alone, so that nothing is purged under somebody's hands. Whoever
-- moves it says which `sequence` he knew (compare and swap): changes of two
-- machines cannot interleave. `change_id` is the entry of generation_changes
-- that moved it, written in the same transaction; so who has lost the answer
-- of that transaction finds out what became of it.
--
-- generation_changes is only ever added to. One that was refused has an
-- `outcome` and a `refusal` and moved nothing.
--
-- audit_entries: who of the staff did what; only ever added to.
--
-- Locking: the row of generation_live is locked for two statements by each
--          change; servers read it twice a second without a lock.
-- Undo:    forward only; a later migration would drop the tables.

CREATE TABLE generation_files (
    hash       BINARY(32)      NOT NULL COMMENT 'SHA-256 of the text',
    size       INT UNSIGNED    NOT NULL,
    content    MEDIUMBLOB      NOT NULL COMMENT 'COMPRESS(text); empty for the empty text',
    created_at DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (hash)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE generation_trees (
    tree BINARY(32)   NOT NULL,
    path VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    file BINARY(32)   NOT NULL,
    PRIMARY KEY (tree, path),
    KEY generation_trees_file (file) COMMENT 'the purge asks which texts nobody names'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE generations (
    hash          BINARY(32)      NOT NULL COMMENT 'SHA-256 of the bundle',
    parent        BINARY(32)          NULL COMMENT 'what was live when it was made',
    library       BINARY(32)      NOT NULL,
    plugins       BINARY(32)      NOT NULL,
    configuration BINARY(32)      NOT NULL,
    rules         BINARY(32)      NOT NULL,
    program       VARCHAR(40)     NOT NULL COMMENT 'version that its library belongs to; another one does not take it over',
    author        VARCHAR(190)    NOT NULL,
    reason        VARCHAR(500)    NOT NULL DEFAULT '',
    files         INT UNSIGNED    NOT NULL,
    size          INT UNSIGNED    NOT NULL COMMENT 'bytes of all texts',
    requests      BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'served, as far as the workers have told',
    live_at       DATETIME(3)         NULL COMMENT 'when it last went live; NULL: never',
    refused_at    DATETIME(3)         NULL COMMENT 'when it was last refused, NULL: never',
    created_at    DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (hash),
    KEY generations_age (created_at, hash) COMMENT 'the list, newest first; the purge',
    KEY generations_parts (library, plugins, configuration) COMMENT 'has anybody seen these folders?'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE generation_live (
    id         TINYINT UNSIGNED NOT NULL COMMENT 'always 1',
    generation BINARY(32)       NOT NULL,
    sequence   BIGINT UNSIGNED  NOT NULL,
    change_id  BINARY(16)       NOT NULL,
    since      DATETIME(3)      NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

INSERT INTO generation_live (id, generation, sequence, change_id, since)
VALUES (1, REPEAT(x'00', 32), 0, REPEAT(x'00', 16), UTC_TIMESTAMP(3));

CREATE TABLE generation_changes (
    id              BINARY(16)      NOT NULL COMMENT 'made by the master that changes',
    sequence        BIGINT UNSIGNED     NULL COMMENT 'the number it got; NULL: refused',
    kind            VARCHAR(16)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'start, reload, rollback, activate, follow',
    from_generation BINARY(32)          NULL,
    to_generation   BINARY(32)          NULL COMMENT 'NULL: refused before it had a name',
    author          VARCHAR(190)    NOT NULL,
    reason          VARCHAR(500)    NOT NULL DEFAULT '',
    outcome         ENUM('live', 'refused') NOT NULL,
    refusal         VARCHAR(2000)       NULL,
    machine         VARCHAR(190)    NOT NULL,
    took_ms         INT UNSIGNED    NOT NULL COMMENT 'from the asking to the decision',
    created_at      DATETIME(3)     NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY generation_changes_sequence (sequence),
    KEY generation_changes_to (to_generation) COMMENT 'the purge: when was it live?',
    KEY generation_changes_age (created_at, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE audit_entries (
    id         BINARY(16)   NOT NULL COMMENT 'a ULID: sorts by time',
    actor      VARCHAR(190) NOT NULL COMMENT 'public id of a person or key, or who ran a command',
    action     VARCHAR(64)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'noun.verb',
    subject    VARCHAR(190) NOT NULL COMMENT 'what it was done to',
    detail     JSON             NULL,
    request_id VARCHAR(32)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY audit_entries_subject (subject, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
