-- 0015 reservations: several locations, backorders, bundles, and how long a channel holds.
--
-- Units that are sold before they are there have no location: their reservation
-- and their events have location_id NULL. `backorders` is the projection of
-- those events, as `stock` is of the others:
--
--   stock.on_hand, stock.reserved   sums of the deltas at a location
--   backorders.promised             sum of reserved_delta where location_id is NULL
--
-- so on_hand stays what is physically there, and stock_not_oversold holds for
-- backordered SKUs too. A reservation goes held -> sold where its units are
-- there, held -> backordered where they are not; units that come later make it
-- sold at their location (event `allotted` at both), in the order of its id.
--
-- A bundle is a variant that has parts. It has no stock of its own: what is
-- reserved and sold are its parts, one row each.
--
-- Locking: rows of `backorders` come after those of `stock` of the same
--          variant; both last before COMMIT, in the order of the variant.
-- Undo:    forward only; a later migration would drop what is added.

ALTER TABLE locations
    ADD COLUMN enabled TINYINT(1) NOT NULL DEFAULT 1 COMMENT '0: nothing is taken from it' AFTER priority;

ALTER TABLE stock_events
    MODIFY COLUMN location_id BINARY(16) NULL COMMENT 'NULL: units that are promised and not there yet',
    MODIFY COLUMN type ENUM('received', 'reserved', 'released', 'expired', 'sold', 'returned', 'adjusted',
                            'transferred', 'extended', 'counted', 'allotted') NOT NULL;

ALTER TABLE reservations
    MODIFY COLUMN location_id BINARY(16) NULL COMMENT 'NULL: of what is promised and not there yet',
    MODIFY COLUMN state ENUM('held', 'sold', 'released', 'expired', 'backordered') NOT NULL DEFAULT 'held',
    ADD COLUMN bundle_id BINARY(16) NULL COMMENT 'the variant that was bought, where this is a part of it' AFTER quantity,
    ADD COLUMN per_unit BIGINT NOT NULL DEFAULT 1 COMMENT 'of this variant in one unit of what was bought' AFTER bundle_id,
    ADD CONSTRAINT reservations_per_unit CHECK (per_unit > 0);

CREATE TABLE backorders (
    variant_id   BINARY(16)  NOT NULL,
    policy       ENUM('deny', 'backorder', 'preorder') NOT NULL DEFAULT 'deny',
    unit_limit   BIGINT      NOT NULL DEFAULT 0 COMMENT 'units that may be promised at a time',
    promised     BIGINT      NOT NULL DEFAULT 0 COMMENT 'held or sold, and not there yet',
    available_at DATETIME(3)     NULL COMMENT 'when a preorder is to be there',
    version      BIGINT      NOT NULL DEFAULT 1,
    updated_at   DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (variant_id),
    KEY backorders_promised (promised) COMMENT 'the job that allots',
    CONSTRAINT backorders_of_variant FOREIGN KEY (variant_id) REFERENCES variants (id),
    CONSTRAINT backorders_limit CHECK (promised >= 0 AND (policy = 'deny' OR promised <= unit_limit))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE bundle_parts (
    bundle_id  BINARY(16) NOT NULL COMMENT 'a variant; never itself a part of another',
    variant_id BINARY(16) NOT NULL,
    quantity   BIGINT     NOT NULL COMMENT 'of the part, in one bundle',
    PRIMARY KEY (bundle_id, variant_id),
    KEY bundle_parts_variant (variant_id) COMMENT 'whose part is it?',
    CONSTRAINT bundle_parts_bundle FOREIGN KEY (bundle_id) REFERENCES variants (id),
    CONSTRAINT bundle_parts_part FOREIGN KEY (variant_id) REFERENCES variants (id),
    CONSTRAINT bundle_parts_quantity CHECK (quantity > 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE order_lines
    ADD COLUMN backordered_quantity BIGINT NOT NULL DEFAULT 0 COMMENT 'sold, and not there yet' AFTER fulfilled_quantity,
    ADD CONSTRAINT order_lines_backordered CHECK (backordered_quantity >= 0
        AND fulfilled_quantity + backordered_quantity <= quantity);

ALTER TABLE api_keys
    ADD COLUMN reservation_minutes INT NULL COMMENT 'of carts made with it; NULL: cart.reservation_minutes' AFTER roles;
