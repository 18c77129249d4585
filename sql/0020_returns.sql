-- 0020 returns: goods that were sent and come back; captures that were declined; a bound on holding.
--
-- A return is a row of `cancellations` with another kind: its units have their part of the frozen
-- split like those that were cancelled, in one order of positions, so the parts come to what was
-- paid whatever was cancelled or returned first. Its money goes the same way. `lines` says of each
-- line besides how many units went back into stock, and where.
--
-- `capture_declines` makes the key of the next capture: a decline is final under its key.
-- `held_since` is when the cart began to hold a variant, however often its quantity was changed.
--
-- Locking: columns with a DEFAULT are instant. The CHECK of order_lines is a copy of the table, as
--          in 0017: where there are millions of lines, at night.
-- Undo:    forward only; a later migration would drop the columns.

ALTER TABLE orders
    ADD COLUMN return_status ENUM('none', 'partial', 'returned') NOT NULL DEFAULT 'none'
        COMMENT 'of what was sent' AFTER fulfilment_status;

ALTER TABLE order_lines
    ADD COLUMN returned_quantity BIGINT NOT NULL DEFAULT 0 COMMENT 'sent, and came back',
    ADD CONSTRAINT order_lines_returned CHECK (returned_quantity >= 0 AND returned_quantity <= fulfilled_quantity);

ALTER TABLE cancellations
    ADD COLUMN kind ENUM('cancel', 'return') NOT NULL DEFAULT 'cancel' COMMENT 'return: its units had been sent' AFTER position;

ALTER TABLE payments
    ADD COLUMN capture_declines INT NOT NULL DEFAULT 0 COMMENT 'final refusals to capture; each ends a key';

ALTER TABLE api_keys
    ADD COLUMN hold_minutes INT NULL COMMENT 'at most, however often it is extended; NULL: cart.hold_minutes' AFTER reservation_minutes;

ALTER TABLE reservations
    ADD COLUMN held_since DATETIME(3) NULL COMMENT 'NULL: since created_at';
