-- 0002 accounts: who may speak to the shop, and as whom.
--
-- A credential is kept as a hash only: whoever reads the database can use none
-- of them. Keys are long random strings, so one SHA-256 is enough; passwords
-- are people's, so they go through scrypt with a salt of their own.
--
-- Undo: forward only; a later migration would drop the tables.

CREATE TABLE settings (
    name       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    value      JSON        NOT NULL,
    updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE api_keys (
    id         BINARY(16)   NOT NULL COMMENT 'ULID, sorts by time',
    kind       ENUM('publishable', 'secret') NOT NULL COMMENT 'publishable: a shop window, may be seen by anybody',
    name       VARCHAR(120) NOT NULL,
    key_hash   BINARY(32)   NOT NULL COMMENT 'SHA-256 of the whole key',
    hint       VARCHAR(12) CHARACTER SET ascii NOT NULL DEFAULT '' COMMENT 'its last characters, to tell keys apart',
    roles      JSON         NOT NULL COMMENT 'list of permissions or roles; empty for publishable ones',
    created_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    revoked_at DATETIME(3)      NULL COMMENT 'kept when revoked: carts and events name it',
    PRIMARY KEY (id),
    UNIQUE KEY api_keys_hash (key_hash)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE staff (
    id            BINARY(16)   NOT NULL,
    email         VARCHAR(254) NOT NULL COMMENT 'lower case',
    name          VARCHAR(120) NOT NULL DEFAULT '',
    password_salt BINARY(16)   NOT NULL,
    password_hash VARBINARY(64) NOT NULL COMMENT 'scrypt',
    roles         JSON         NOT NULL,
    disabled_at   DATETIME(3)      NULL,
    created_at    DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY staff_email (email)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE customers (
    id            BINARY(16)   NOT NULL,
    email         VARCHAR(254) NOT NULL COMMENT 'lower case',
    first_name    VARCHAR(120) NOT NULL DEFAULT '',
    last_name     VARCHAR(120) NOT NULL DEFAULT '',
    phone         VARCHAR(40)  NOT NULL DEFAULT '',
    customer_group VARCHAR(64)     NULL COMMENT 'of prices and promotions',
    password_salt BINARY(16)       NULL COMMENT 'NULL: imported, has never set a password',
    password_hash VARBINARY(64)    NULL,
    tax_exempt    BOOLEAN      NOT NULL DEFAULT FALSE,
    external_ref  VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    created_at    DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at    DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    PRIMARY KEY (id),
    UNIQUE KEY customers_email (email),
    UNIQUE KEY customers_external (external_ref)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE sessions (
    id          BINARY(16)  NOT NULL,
    token_hash  BINARY(32)  NOT NULL COMMENT 'SHA-256 of the token that the client holds',
    staff_id    BINARY(16)      NULL,
    customer_id BINARY(16)      NULL,
    created_at  DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    expires_at  DATETIME(3) NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY sessions_token (token_hash),
    KEY sessions_expiry (expires_at) COMMENT 'the purge',
    KEY sessions_staff (staff_id),
    KEY sessions_customer (customer_id),
    CONSTRAINT sessions_of_staff FOREIGN KEY (staff_id) REFERENCES staff (id) ON DELETE CASCADE,
    CONSTRAINT sessions_of_customer FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE,
    CONSTRAINT sessions_one_owner CHECK ((staff_id IS NULL) <> (customer_id IS NULL))
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
