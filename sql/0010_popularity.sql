-- 0010 popularity: how often a product was bought, for the order of search results.
--
-- Why: among products that fit a query equally well, the one that people buy
--      is the one that is meant. Counted from order_lines by imports and by a
--      job, never by a checkout: nobody waits for it.
--
-- Locking: adding a column with a default is instant.
-- Undo:    forward only; a later migration would drop the column.

ALTER TABLE search_documents
    ADD COLUMN popularity INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'order lines that name a variant of it';
