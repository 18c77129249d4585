-- 0031 payment requests: what staff ask the shopper to pay of an order that was placed.
--
-- One row for each order of which something is asked for; what is paid is taken off its amount, and
-- the row goes with the last of it. History stands in order_events.
--
-- Locking: a new table.
-- Undo:    forward only; a later migration would drop it.

CREATE TABLE payment_requests (
    order_id   BINARY(16)   NOT NULL,
    amount     BIGINT       NOT NULL COMMENT 'minor units that are asked for still, in the currency of the order',
    reason     VARCHAR(255) NOT NULL COMMENT 'for the shopper',
    instead_of BINARY(16)       NULL COMMENT 'the payment that is to be let go of first',
    actor      VARCHAR(64)  NOT NULL,
    asked_at   DATETIME(3)  NOT NULL,
    PRIMARY KEY (order_id),
    CONSTRAINT payment_requests_of_order FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT payment_requests_amount CHECK (amount > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
