-- 0004 stock: an append-only log, and its projection.
--
-- `stock_events` is what happened; `stock` is the sum, written in the same
-- transaction. The CHECKs are the last line of defence: no bug above them can
-- sell what is not there.
--
-- Locking: rows of `stock` are the contended ones. They are changed by one
-- conditional UPDATE each, in the order of the SKU, last before COMMIT.
-- Undo:    forward only; a later migration would drop the tables.

CREATE TABLE locations (
    id         BINARY(16)   NOT NULL,
    code       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT '"main" is always there',
    name       VARCHAR(120) NOT NULL,
    priority   INT          NOT NULL DEFAULT 100 COMMENT 'lower is taken from first',
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY locations_code (code)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

INSERT INTO locations (id, code, name, priority) VALUES (UNHEX('019A000000000000000000000000A001'), 'main', 'Main', 100);

CREATE TABLE stock (
    variant_id  BINARY(16) NOT NULL,
    location_id BINARY(16) NOT NULL,
    on_hand     BIGINT     NOT NULL DEFAULT 0 COMMENT 'physically there, reserved ones included',
    reserved    BIGINT     NOT NULL DEFAULT 0 COMMENT 'held for carts',
    version     BIGINT     NOT NULL DEFAULT 1,
    PRIMARY KEY (variant_id, location_id),
    KEY stock_location (location_id),
    CONSTRAINT stock_of_variant FOREIGN KEY (variant_id) REFERENCES variants (id),
    CONSTRAINT stock_at_location FOREIGN KEY (location_id) REFERENCES locations (id),
    CONSTRAINT stock_not_oversold CHECK (on_hand - reserved >= 0),
    CONSTRAINT stock_reserved CHECK (reserved >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE stock_events (
    id             BIGINT UNSIGNED NOT NULL AUTO_INCREMENT COMMENT 'order of the log',
    variant_id     BINARY(16)   NOT NULL,
    location_id    BINARY(16)   NOT NULL,
    type           ENUM('received', 'reserved', 'released', 'expired', 'sold', 'returned', 'adjusted',
                        'transferred') NOT NULL,
    quantity       BIGINT       NOT NULL COMMENT 'units the event speaks of, as signed as its effect',
    on_hand_delta  BIGINT       NOT NULL COMMENT 'the sum of these is stock.on_hand',
    reserved_delta BIGINT       NOT NULL COMMENT 'the sum of these is stock.reserved',
    reference      VARCHAR(64) CHARACTER SET ascii NOT NULL DEFAULT '' COMMENT 'cart, order, import',
    reason         VARCHAR(255) NOT NULL DEFAULT '',
    actor          VARCHAR(64)  NOT NULL DEFAULT '',
    at             DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY stock_events_variant (variant_id, location_id, at) COMMENT 'as_of',
    KEY stock_events_reference (reference)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE reservations (
    id          BINARY(16)  NOT NULL,
    cart_id     BINARY(16)  NOT NULL,
    variant_id  BINARY(16)  NOT NULL,
    location_id BINARY(16)  NOT NULL,
    quantity    BIGINT      NOT NULL,
    state       ENUM('held', 'sold', 'released', 'expired') NOT NULL DEFAULT 'held',
    expires_at  DATETIME(3) NOT NULL,
    created_at  DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    KEY reservations_cart (cart_id, state),
    KEY reservations_expiry (state, expires_at) COMMENT 'the jobs worker',
    KEY reservations_variant (variant_id, state, expires_at) COMMENT 'expired ones give way when stock is short',
    CONSTRAINT reservations_quantity CHECK (quantity > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
