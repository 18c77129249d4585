-- 0034 webhook claim: the index on `webhook_events.claim` goes.
--
-- What was claimed is found by when its claim ends (webhook_due), and what is settled by its id. So
-- nothing reads it, and each claim of a row moved an entry in it: a third of what a claim costs.
--
-- Locking: none to speak of; InnoDB drops an index at once, and reads and writes go on.
-- Undo:    ALTER TABLE webhook_events ADD KEY webhook_claim (claim)

ALTER TABLE webhook_events DROP KEY webhook_claim;
