-- 0028 several payments: what of a cancellation, return or refund goes back of which payment.
--
-- An order may be paid with several payments. What goes back is then split over them
-- (lua/till/flow/cancellation_shares.lua): the row of the cancellation has the share of one of them,
-- and each other payment has a row of its own besides, without lines, that says whose part it is.
-- So a row is of one payment, as before, with its own money, flow and key at the provider.
--
-- Locking: a column at the end, NULL by default, is added instantly; the index is added online.
-- Undo:    forward only; a later migration would drop index and column.

ALTER TABLE cancellations
    ADD COLUMN part_of BINARY(16) NULL COMMENT 'the cancellation that it is the share of another payment of',
    ADD KEY cancellations_parts (part_of);
