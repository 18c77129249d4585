-- 0027 captures: a payment is captured in parts.
--
-- A row of `captures` is one part, written down before its provider is asked; its id makes the key that
-- the provider is asked under. Of a payment at most one is `asked` at a time. A capture of all that was
-- authorized that nobody named an amount for needs no row: it stands in `payments.capture_amount`, as ever.
--
-- `queued` ones are decided when goods are handed over, and asked for by the jobs workers, in their order.
-- `released_amount` of a cancellation is what of its amount was not captured yet: it is not refunded.
--
-- Locking: new tables; the ENUM gets a value at its end and the column is added instantly.
-- Undo:    forward only; a later migration would drop the tables and the column.

CREATE TABLE captures (
    id         BINARY(16)   NOT NULL,
    payment_id BINARY(16)   NOT NULL,
    order_id   BINARY(16)   NOT NULL,
    request    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
        COMMENT 'SHA-256 of the Idempotency-Key with its scope, or the id of the fulfilment',
    amount     BIGINT       NOT NULL,
    final      TINYINT      NOT NULL COMMENT '1: nothing of the payment is captured after it',
    state      ENUM('queued', 'asked', 'done', 'refused', 'dropped') NOT NULL
        COMMENT 'asked: the provider may have taken it; dropped: nothing was left to be captured',
    since      INT UNSIGNED     NULL COMMENT 'newest of payment_events when it was asked for',
    reason     VARCHAR(255)     NULL COMMENT 'why it was refused',
    actor      VARCHAR(64)  NOT NULL,
    created_at DATETIME(3)  NOT NULL,
    asked_at   DATETIME(3)      NULL,
    done_at    DATETIME(3)      NULL,
    PRIMARY KEY (id),
    UNIQUE KEY captures_request (payment_id, request),
    KEY captures_open (payment_id, state),
    CONSTRAINT captures_of_order FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT captures_amount CHECK (amount >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE orders
    MODIFY payment_status ENUM('awaiting', 'authorized', 'captured', 'voided', 'partially_refunded', 'refunded',
                               'partially_captured') NOT NULL DEFAULT 'awaiting';

ALTER TABLE cancellations
    ADD COLUMN released_amount BIGINT NOT NULL DEFAULT 0 COMMENT 'of its amount: not captured, and never will be';

CREATE TABLE payment_test_captures (
    capture_key VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    idem_key    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount      BIGINT NOT NULL,
    PRIMARY KEY (capture_key),
    KEY payment_test_captures_attempt (idem_key)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COMMENT 'parts that the pretended provider of payment-test took';
