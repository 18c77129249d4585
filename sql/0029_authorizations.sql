-- 0029 authorizations: until when the money of a payment is held, and when to look at it again; and
-- a verdict of reconciliation for accounts that are kept in another currency.
--
-- Providers hold money for some days and then let go of it by themselves. Every minute the shop
-- looks for those whose time is near or over (lua/till/flow/authorizations.lua). Both columns stay
-- NULL where a provider has no such time; those that are authorized now get theirs at the first look.
--
-- Locking: columns and verdict are added at once, the index online; writes go on.
-- Undo:    forward only; a later migration would drop columns, index and verdict.

ALTER TABLE payments
    ADD COLUMN authorization_expires_at DATETIME(3) NULL COMMENT 'until when the provider holds the money',
    ADD COLUMN authorization_look_at    DATETIME(3) NULL COMMENT 'when till.flow.authorizations looks at it; NULL: not planned yet',
    ADD KEY payments_authorized (state, provider, authorization_look_at);

ALTER TABLE settlement_items
    MODIFY COLUMN verdict ENUM('matched', 'differs', 'missing_here', 'missing_there', 'other', 'other_currency') NOT NULL;
