-- 0018 jobs: kinds of events with limits and priorities, discarded letters,
-- jobs of a schedule.
--
-- outbox.outbox_due now leads from type to type: which kinds are due is found
-- by one step a kind, and of each the longest due events without meeting those
-- of another kind (one that has no slot free, say) or delivered ones. It keeps
-- its name, for a server that still runs the code of before names it.
-- `published`: its copies for plugins with the hook event.publish are there.
--
-- job_slots: how many workers, of all machines, may be at one kind at once. A
-- slot is held by a claim and until a time, as an event is.
--
-- job_schedules: when a job of a schedule is due next. One run at a time holds
-- because its runs are events of one aggregate.
--
-- Locking: a slot is taken by one statement. A schedule's row is locked while
-- its run is appended; the outbox comes after it.
-- Undo:    forward only.

ALTER TABLE outbox
    MODIFY aggregate VARCHAR(160) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'kind:id, e.g. order:ord_01J...',
    MODIFY state ENUM('pending', 'done', 'dead', 'discarded') NOT NULL DEFAULT 'pending'
           COMMENT 'dead: given up, for staff to see; discarded: staff saw it and let it go',
    ADD COLUMN published BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'it was handed on to plugins that publish',
    ADD COLUMN settled_by VARCHAR(64) NULL COMMENT 'who discarded it',
    ADD COLUMN settled_why VARCHAR(255) NULL,
    ADD COLUMN settled_at DATETIME(3) NULL,
    DROP KEY outbox_due,
    ADD KEY outbox_due (state, type, available_at, id) COMMENT 'claims, numbers by type, the purge';

CREATE TABLE job_slots (
    kind       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    slot       SMALLINT UNSIGNED NOT NULL COMMENT '1 to the limit of the kind',
    claim      BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'who holds it; 0: nobody',
    held_until DATETIME(3)     NOT NULL DEFAULT '2000-01-01',
    PRIMARY KEY (kind, slot)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE job_schedules (
    name        VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'plugin/job; the server''s own without a plugin',
    schedule    VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'every 15 minutes; or as in cron',
    next_at     DATETIME(3)  NOT NULL,
    paused_by   VARCHAR(64)      NULL COMMENT 'NULL: it runs',
    is_present  BOOLEAN      NOT NULL DEFAULT TRUE COMMENT 'false: nothing live declares it any more',
    state       ENUM('idle', 'queued', 'running', 'failed') NOT NULL DEFAULT 'idle',
    queued_at   DATETIME(3)      NULL COMMENT 'of the last run',
    started_at  DATETIME(3)      NULL,
    ended_at    DATETIME(3)      NULL,
    runs        BIGINT UNSIGNED NOT NULL DEFAULT 0,
    failures    BIGINT UNSIGNED NOT NULL DEFAULT 0,
    last_error  VARCHAR(500)     NULL COMMENT 'of the last run that failed; cleared by one that did not',
    PRIMARY KEY (name),
    KEY job_schedules_due (next_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
