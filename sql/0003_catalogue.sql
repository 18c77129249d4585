-- 0003 catalogue: what is sold, and for how much.
--
-- A product is what the shopper reads about; a variant is what is counted,
-- priced and put into a cart. SKUs and handles compare byte by byte: "a1" and
-- "A1" are two SKUs in many a warehouse.
--
-- Undo: forward only; a later migration would drop the tables.

CREATE TABLE categories (
    id         BINARY(16)   NOT NULL,
    parent_id  BINARY(16)       NULL COMMENT 'NULL: at the top',
    handle     VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    title      VARCHAR(255) NOT NULL,
    position   INT          NOT NULL DEFAULT 0,
    version    BIGINT       NOT NULL DEFAULT 1,
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY categories_handle (handle),
    KEY categories_parent (parent_id, position),
    CONSTRAINT categories_of_parent FOREIGN KEY (parent_id) REFERENCES categories (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE products (
    id           BINARY(16)   NOT NULL COMMENT 'ULID: the list by age needs no further index',
    handle       VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    title        VARCHAR(255) NOT NULL,
    description  TEXT         NOT NULL,
    status       ENUM('active', 'draft', 'archived') NOT NULL DEFAULT 'draft',
    tax_class    VARCHAR(64)  NOT NULL DEFAULT 'standard',
    tags         JSON         NOT NULL COMMENT 'list of strings; promotions name them',
    image        VARCHAR(512)     NULL COMMENT 'path or address',
    external_ref VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL COMMENT 'id in the system it came from',
    version      BIGINT       NOT NULL DEFAULT 1 COMMENT 'the ETag; raised by every change, of variants and prices too',
    created_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY products_handle (handle),
    UNIQUE KEY products_external (external_ref),
    KEY products_list (status, id),
    KEY products_title (status, title, id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE product_categories (
    product_id  BINARY(16) NOT NULL,
    category_id BINARY(16) NOT NULL,
    position    INT        NOT NULL DEFAULT 0,
    PRIMARY KEY (product_id, category_id),
    KEY product_categories_list (category_id, product_id),
    CONSTRAINT product_categories_product FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE,
    CONSTRAINT product_categories_category FOREIGN KEY (category_id) REFERENCES categories (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE product_options (
    product_id BINARY(16)  NOT NULL,
    position   INT         NOT NULL,
    name       VARCHAR(64) NOT NULL COMMENT 'Size, Colour; a variant gives a value for each in its `options`',
    PRIMARY KEY (product_id, position),
    CONSTRAINT product_options_product FOREIGN KEY (product_id) REFERENCES products (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE variants (
    id           BINARY(16)   NOT NULL,
    product_id   BINARY(16)   NOT NULL,
    sku          VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    title        VARCHAR(255) NOT NULL DEFAULT '' COMMENT 'empty: the product''s own',
    options      JSON         NOT NULL COMMENT 'name to value',
    weight_g     INT UNSIGNED NOT NULL DEFAULT 0,
    position     INT          NOT NULL DEFAULT 0,
    external_ref VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    archived_at  DATETIME(3)      NULL COMMENT 'no longer sold; orders and stock still name it',
    created_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at   DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY variants_sku (sku),
    UNIQUE KEY variants_external (external_ref),
    KEY variants_product (product_id, position, id),
    CONSTRAINT variants_of_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE prices (
    id             BINARY(16)   NOT NULL,
    variant_id     BINARY(16)   NOT NULL,
    currency       CHAR(3) CHARACTER SET ascii NOT NULL,
    list           VARCHAR(64)  NOT NULL DEFAULT '' COMMENT 'name of the price list; of one list only the best tier counts',
    kind           ENUM('base', 'sale', 'override') NOT NULL DEFAULT 'base',
    customer_group VARCHAR(64)      NULL,
    min_qty        INT UNSIGNED NOT NULL DEFAULT 1,
    starts_at      DATETIME(3)      NULL,
    ends_at        DATETIME(3)      NULL,
    amount         BIGINT       NOT NULL COMMENT 'minor units',
    PRIMARY KEY (id),
    KEY prices_variant (variant_id, currency, kind),
    CONSTRAINT prices_of_variant FOREIGN KEY (variant_id) REFERENCES variants (id) ON DELETE CASCADE,
    CONSTRAINT prices_amount CHECK (amount >= 0),
    CONSTRAINT prices_min_qty CHECK (min_qty >= 1)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE price_history (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    variant_id BINARY(16)   NOT NULL,
    currency   CHAR(3) CHARACTER SET ascii NOT NULL,
    amount     BIGINT       NOT NULL,
    at         DATETIME(3)  NOT NULL,
    source     VARCHAR(120) NOT NULL COMMENT 'who set it: a key, a person, an import',
    PRIMARY KEY (id),
    KEY price_history_variant (variant_id, currency, at) COMMENT 'lowest price of thirty days'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
