-- 0005 carts and promotions.
--
-- A cart keeps the totals that the shopper was shown (`priced`), computed when
-- it changed: reading it never reprices, and at completion they are what the
-- fresh totals are compared with.
--
-- Undo: forward only; a later migration would drop the tables.

CREATE TABLE carts (
    id                 BINARY(16)  NOT NULL,
    version            BIGINT      NOT NULL DEFAULT 1 COMMENT 'the ETag',
    state              ENUM('open', 'completing', 'completed') NOT NULL DEFAULT 'open',
    currency           CHAR(3) CHARACTER SET ascii NOT NULL,
    country            CHAR(2) CHARACTER SET ascii NOT NULL COMMENT 'until there is a shipping address',
    email              VARCHAR(254)    NULL,
    shipping_address   JSON            NULL,
    billing_address    JSON            NULL,
    shipping_option_id VARCHAR(120) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT '"plugin:option"',
    customer_id        BINARY(16)      NULL,
    key_id             BINARY(16)      NULL COMMENT 'the key it was made with; another key does not see it',
    priced             JSON            NULL COMMENT 'what the shopper was shown',
    generation         VARCHAR(64) CHARACTER SET ascii NULL COMMENT 'of the code that priced it',
    claim              BIGINT UNSIGNED NULL COMMENT 'of the completion that is under way',
    claimed_until      DATETIME(3)     NULL COMMENT 'past it the completion is taken to be dead',
    order_id           BINARY(16)      NULL,
    created_at         DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at         DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY carts_customer (customer_id, id),
    KEY carts_state (state, updated_at) COMMENT 'abandoned ones'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE cart_lines (
    id         BINARY(16)  NOT NULL,
    cart_id    BINARY(16)  NOT NULL,
    variant_id BINARY(16)  NOT NULL,
    quantity   BIGINT      NOT NULL,
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY cart_lines_variant (cart_id, variant_id) COMMENT 'the same thing again adds to its line',
    CONSTRAINT cart_lines_of_cart FOREIGN KEY (cart_id) REFERENCES carts (id) ON DELETE CASCADE,
    CONSTRAINT cart_lines_of_variant FOREIGN KEY (variant_id) REFERENCES variants (id),
    CONSTRAINT cart_lines_quantity CHECK (quantity > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE cart_promotions (
    cart_id    BINARY(16)  NOT NULL,
    code       VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'trimmed, upper case',
    created_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (cart_id, code),
    CONSTRAINT cart_promotions_cart FOREIGN KEY (cart_id) REFERENCES carts (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE promotions (
    id                 BINARY(16)   NOT NULL,
    code               VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'upper case; NULL: for everybody',
    name               VARCHAR(255) NOT NULL,
    terms              JSON         NOT NULL COMMENT 'fields of the pricing semantics',
    status             ENUM('active', 'paused', 'archived') NOT NULL DEFAULT 'active',
    usage_limit        BIGINT           NULL,
    per_customer_limit BIGINT           NULL,
    used               BIGINT       NOT NULL DEFAULT 0,
    starts_at          DATETIME(3)      NULL,
    ends_at            DATETIME(3)      NULL,
    version            BIGINT       NOT NULL DEFAULT 1,
    created_at         DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at         DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY promotions_code (code),
    KEY promotions_status (status, id),
    CONSTRAINT promotions_used CHECK (used >= 0 AND (usage_limit IS NULL OR used <= usage_limit))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE promotion_customers (
    promotion_id BINARY(16)   NOT NULL,
    customer     VARCHAR(254) NOT NULL COMMENT 'lower-case email: a guest counts too',
    used         BIGINT       NOT NULL DEFAULT 0,
    PRIMARY KEY (promotion_id, customer),
    CONSTRAINT promotion_customers_promotion FOREIGN KEY (promotion_id) REFERENCES promotions (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE promotion_redemptions (
    promotion_id BINARY(16)   NOT NULL,
    order_id     BINARY(16)   NOT NULL,
    customer     VARCHAR(254) NOT NULL,
    amount       BIGINT       NOT NULL COMMENT 'what it gave, minor units of the order',
    created_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (promotion_id, order_id),
    KEY promotion_redemptions_order (order_id),
    CONSTRAINT promotion_redemptions_promotion FOREIGN KEY (promotion_id) REFERENCES promotions (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
