-- 0006 orders: what was sold, frozen.
--
-- Nothing in an order refers to a price, a promotion or a tax rate that may
-- change: lines hold their figures, and `price_trace` the whole calculation
-- with its inputs. Refunds and replays work from these alone.
--
-- Undo: forward only; a later migration would drop the tables.

CREATE TABLE orders (
    id                 BINARY(16)   NOT NULL,
    number             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'what people say on the telephone; may have gaps',
    cart_id            BINARY(16)       NULL COMMENT 'unique: one cart, one order, whatever is repeated',
    external_ref       VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'of an imported order',
    customer_id        BINARY(16)       NULL,
    key_id             BINARY(16)       NULL,
    status             ENUM('placed', 'completed', 'cancelled') NOT NULL DEFAULT 'placed',
    payment_status     ENUM('awaiting', 'authorized', 'captured', 'voided', 'partially_refunded', 'refunded')
                                    NOT NULL DEFAULT 'awaiting',
    fulfilment_status  ENUM('unfulfilled', 'partial', 'fulfilled') NOT NULL DEFAULT 'unfulfilled',
    email              VARCHAR(254) NOT NULL,
    currency           CHAR(3) CHARACTER SET ascii NOT NULL,
    subtotal           BIGINT       NOT NULL,
    discount_total     BIGINT       NOT NULL,
    shipping_total     BIGINT       NOT NULL,
    tax_total          BIGINT       NOT NULL,
    total              BIGINT       NOT NULL,
    shipping_address   JSON             NULL,
    billing_address    JSON             NULL,
    shipping_option_id VARCHAR(120) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    shipping_label     VARCHAR(255)     NULL,
    promotions         JSON         NOT NULL,
    price_trace        JSON             NULL COMMENT 'given and result of the calculation; NULL for imported orders',
    generation         VARCHAR(64) CHARACTER SET ascii NULL,
    version            BIGINT       NOT NULL DEFAULT 1,
    placed_at          DATETIME(3)  NOT NULL,
    updated_at         DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY orders_number (number),
    UNIQUE KEY orders_cart (cart_id),
    UNIQUE KEY orders_external (external_ref),
    KEY orders_placed (placed_at, id),
    KEY orders_status (status, placed_at, id),
    KEY orders_email (email, placed_at),
    KEY orders_customer (customer_id, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 AUTO_INCREMENT = 1001;

CREATE TABLE order_lines (
    id                 BINARY(16)   NOT NULL,
    order_id           BINARY(16)   NOT NULL,
    position           INT          NOT NULL,
    variant_id         BINARY(16)       NULL COMMENT 'NULL: an imported line whose product is not known',
    sku                VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    title              VARCHAR(255) NOT NULL,
    quantity           BIGINT       NOT NULL,
    fulfilled_quantity BIGINT       NOT NULL DEFAULT 0,
    unit_price         BIGINT       NOT NULL,
    subtotal           BIGINT       NOT NULL,
    discount_total     BIGINT       NOT NULL,
    tax_total          BIGINT       NOT NULL,
    total              BIGINT       NOT NULL,
    trace              JSON             NULL COMMENT 'the line as price.calculate froze it',
    PRIMARY KEY (id),
    UNIQUE KEY order_lines_position (order_id, position),
    KEY order_lines_variant (variant_id),
    KEY order_lines_sku (sku),
    CONSTRAINT order_lines_of_order FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT order_lines_fulfilled CHECK (fulfilled_quantity >= 0 AND fulfilled_quantity <= quantity)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE order_events (
    id       BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    order_id BINARY(16)   NOT NULL,
    type     VARCHAR(64)  NOT NULL COMMENT 'placed, authorized, captured, fulfilled, cancelled, …',
    actor    VARCHAR(64)  NOT NULL COMMENT '"shopper", "system", or the id of a key or person',
    data     JSON         NOT NULL,
    at       DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY order_events_order (order_id, id),
    CONSTRAINT order_events_of_order FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE fulfilments (
    id              BINARY(16)   NOT NULL,
    order_id        BINARY(16)   NOT NULL,
    tracking_number VARCHAR(120)     NULL,
    carrier         VARCHAR(64)      NULL,
    actor           VARCHAR(64)  NOT NULL DEFAULT '',
    created_at      DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY fulfilments_order (order_id, id),
    CONSTRAINT fulfilments_of_order FOREIGN KEY (order_id) REFERENCES orders (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE fulfilment_lines (
    fulfilment_id BINARY(16) NOT NULL,
    line_id       BINARY(16) NOT NULL,
    quantity      BIGINT     NOT NULL,
    PRIMARY KEY (fulfilment_id, line_id),
    KEY fulfilment_lines_line (line_id),
    CONSTRAINT fulfilment_lines_of FOREIGN KEY (fulfilment_id) REFERENCES fulfilments (id),
    CONSTRAINT fulfilment_lines_line FOREIGN KEY (line_id) REFERENCES order_lines (id),
    CONSTRAINT fulfilment_lines_quantity CHECK (quantity > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
