-- 0024 refunds: money that goes back apart from cancellations and returns, and who agreed to it.
--
-- `refunds` is what somebody of the staff wants, and what others said of it. One that is agreed to
-- becomes a row of `cancellations` of the same id: its part of the frozen split, its place in the
-- order of positions, its money by the same saga. Above the limit of his role it waits as
-- `requested` for another person. `wish` is what was asked for: {lines, shipping, amount}.
--
-- Locking: the ENUM gets a value at its end, which is instant.
-- Undo:    forward only; a later migration would drop the table.

ALTER TABLE cancellations
    MODIFY kind ENUM('cancel', 'return', 'refund') NOT NULL DEFAULT 'cancel'
        COMMENT 'return: its units had been sent; refund: the shopper keeps them';

CREATE TABLE refunds (
    id           BINARY(16)   NOT NULL COMMENT 'of its row in cancellations as well, once agreed to',
    order_id     BINARY(16)   NOT NULL,
    request      CHAR(64) CHARACTER SET ascii NOT NULL COMMENT 'SHA-256 of the Idempotency-Key with its scope',
    state        ENUM('requested', 'pending', 'done', 'refused', 'rejected', 'expired') NOT NULL
        COMMENT 'pending: the money is not back yet; refused: the provider will not',
    wish         JSON         NOT NULL,
    currency     CHAR(3) CHARACTER SET ascii NOT NULL,
    amount       BIGINT       NOT NULL COMMENT 'what it came to when it was asked for',
    reason       VARCHAR(255) NOT NULL,
    requested_by VARCHAR(64)  NOT NULL,
    decided_by   VARCHAR(64)      NULL COMMENT 'NULL: within the limit of who asked, or not decided',
    decided_at   DATETIME(3)      NULL,
    answer       VARCHAR(255) NOT NULL DEFAULT '' COMMENT 'of who decided',
    created_at   DATETIME(3)  NOT NULL,
    expires_at   DATETIME(3)  NOT NULL COMMENT 'of the request',
    PRIMARY KEY (id),
    UNIQUE KEY refunds_request (order_id, request),
    KEY refunds_state (state, id),
    CONSTRAINT refunds_of_order FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT refunds_amount CHECK (amount > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
