-- 0017 order states: cancellations in part, fulfilments in steps, flows that are parked.
--
-- `cancellations` is what was decided: units that will not be sent, and the money that belongs to
-- them. The decision is one transaction with its stock and its ledger; the money goes back
-- afterwards, by a saga of that name. `request` makes one cancellation of one Idempotency-Key.
--
-- What a provider is asked to capture is written down before it is asked (`capture_amount`), so
-- that a cancellation which meets it knows of it. `released_amount` is the part of an
-- authorisation that will never be captured.
--
-- A parked saga is one that nobody goes on with until staff say so. `saga_events` is its history:
-- attempts that failed, and what staff did.
--
-- Undo: forward only; a later migration would drop the tables and columns.

ALTER TABLE orders
    MODIFY fulfilment_status ENUM('unfulfilled', 'partial', 'fulfilled', 'cancelled') NOT NULL DEFAULT 'unfulfilled';

ALTER TABLE order_lines
    ADD COLUMN cancelled_quantity BIGINT NOT NULL DEFAULT 0 COMMENT 'units that will not be sent',
    ADD CONSTRAINT order_lines_left CHECK (cancelled_quantity >= 0 AND fulfilled_quantity + cancelled_quantity <= quantity);

UPDATE order_lines l JOIN orders o ON o.id = l.order_id
    SET l.cancelled_quantity = l.quantity - l.fulfilled_quantity, o.fulfilment_status = 'cancelled'
    WHERE o.status = 'cancelled';

CREATE TABLE cancellations (
    id         BINARY(16)   NOT NULL,
    order_id   BINARY(16)   NOT NULL,
    position   INT          NOT NULL COMMENT 'which of the order it is: refunds are worked out in this order',
    request    CHAR(64) CHARACTER SET ascii NULL COMMENT 'SHA-256 of the Idempotency-Key with its scope',
    whole      BOOLEAN      NOT NULL COMMENT 'the order ended with it: its shipping is given back as well',
    `lines`    JSON         NOT NULL COMMENT '[{line_id, quantity, amount, tax, net}]',
    shipping   JSON             NULL COMMENT '{amount, tax, net}',
    currency   CHAR(3) CHARACTER SET ascii NOT NULL,
    amount     BIGINT       NOT NULL COMMENT 'what the shopper does not owe any more, or gets back',
    money      ENUM('none', 'lowered', 'void', 'refund') NOT NULL COMMENT 'lowered: less will be captured',
    payment_id BINARY(16)       NULL,
    state      ENUM('pending', 'done') NOT NULL COMMENT 'pending: the money is not back yet',
    reason     VARCHAR(255) NOT NULL DEFAULT '',
    actor      VARCHAR(64)  NOT NULL,
    created_at DATETIME(3)  NOT NULL,
    done_at    DATETIME(3)      NULL,
    PRIMARY KEY (id),
    UNIQUE KEY cancellations_position (order_id, position),
    UNIQUE KEY cancellations_request (order_id, request),
    KEY cancellations_open (state, created_at) COMMENT 'reconciliation',
    CONSTRAINT cancellations_of_order FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT cancellations_amount CHECK (amount >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE fulfilments
    ADD COLUMN status ENUM('pending', 'shipped', 'cancelled') NOT NULL DEFAULT 'shipped'
        COMMENT 'pending: packed, not handed over yet' AFTER order_id,
    ADD COLUMN updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3);

ALTER TABLE payments
    ADD COLUMN released_amount BIGINT NOT NULL DEFAULT 0 COMMENT 'of the authorisation, never to be captured',
    ADD COLUMN capture_amount  BIGINT     NULL COMMENT 'what was asked for; written before the provider is asked',
    ADD COLUMN refunded_amount BIGINT NOT NULL DEFAULT 0,
    ADD CONSTRAINT payments_released CHECK (released_amount >= 0 AND released_amount <= amount),
    ADD CONSTRAINT payments_captured CHECK (capture_amount >= 0 AND capture_amount <= amount),
    ADD CONSTRAINT payments_refunded CHECK (refunded_amount >= 0 AND refunded_amount <= amount);

UPDATE payments SET capture_amount = amount WHERE state IN ('captured', 'refunded');
UPDATE payments SET refunded_amount = amount WHERE state = 'refunded';

ALTER TABLE sagas
    MODIFY state ENUM('running', 'waiting', 'done', 'undone', 'failed', 'parked') NOT NULL DEFAULT 'running'
        COMMENT 'waiting: for an outcome; parked: for somebody of the staff',
    ADD COLUMN tries       INT         NOT NULL DEFAULT 0 COMMENT 'of this step, each when it was due',
    ADD COLUMN stuck_since DATETIME(3)     NULL COMMENT 'since when it has waited at this step',
    ADD COLUMN parked_at   DATETIME(3)     NULL;

CREATE TABLE saga_events (
    id      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    saga_id BIGINT UNSIGNED NOT NULL,
    type    ENUM('attempt', 'parked', 'retried', 'resolved') NOT NULL,
    step    INT          NOT NULL COMMENT 'how many steps were done',
    actor   VARCHAR(64)  NOT NULL COMMENT '"system", or the id of a key or person',
    data    JSON         NOT NULL COMMENT 'error, reason, as',
    at      DATETIME(3)  NOT NULL,
    PRIMARY KEY (id),
    KEY saga_events_saga (saga_id, id),
    CONSTRAINT saga_events_of_saga FOREIGN KEY (saga_id) REFERENCES sagas (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE payment_test_attempts
    ADD COLUMN captured_amount BIGINT NOT NULL DEFAULT 0;

UPDATE payment_test_attempts SET captured_amount = amount WHERE state IN ('captured', 'refunded');

CREATE TABLE payment_test_refunds (
    refund_key VARCHAR(96) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    idem_key   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    amount     BIGINT NOT NULL,
    PRIMARY KEY (refund_key),
    KEY payment_test_refunds_attempt (idem_key)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COMMENT 'what the pretended provider of payment-test gave back';
