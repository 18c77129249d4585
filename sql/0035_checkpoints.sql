-- 0035 checkpoints: of the log of a row of stock as many as it is long, and of promises too.
--
-- Why: what a SKU had months ago was added up from its only checkpoint, the newest, or from the log's
--      beginning: millions of events of a busy one. Now one stays every 50,000 events. The log of
--      what is promised had none at all, and was added up from its beginning by each pass. A server
--      of before, that runs meanwhile, leaves more of them than are needed; all are right.
--
-- Locking: the table is built anew; it has a row for each busy place, and only passes write it.
-- Undo:    forward only; a later migration would leave the newest of each place.

ALTER TABLE stock_checkpoints
    ADD COLUMN events BIGINT NOT NULL DEFAULT 0 COMMENT 'since the checkpoint before it that stays',
    MODIFY location_id BINARY(16) NOT NULL COMMENT 'zeros: of what is promised, which is nowhere yet',
    DROP PRIMARY KEY,
    ADD PRIMARY KEY (variant_id, location_id, at);
