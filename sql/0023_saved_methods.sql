-- 0023 saved methods: ways to pay that a provider keeps for a customer.
--
-- The provider's token, and what it knows the customer by, are sealed by the
-- vault (core/trade/vault.h): place { saved_payment_methods, id, sealed }. Of a
-- card there is here what may be shown: brand, last four digits, expiry.
-- `token_index` is a blind index of the token: the same method is kept once,
-- however often the provider tells of it.
--
-- A method that the shopper has deleted is not shown and not used any more;
-- its row goes when the provider has forgotten it too.
--
-- Locking: a new table.
-- Undo: forward only; a later migration would drop the table.

CREATE TABLE saved_payment_methods (
    id          BINARY(16)     NOT NULL,
    customer_id BINARY(16)     NOT NULL,
    provider    VARCHAR(64)    NOT NULL COMMENT 'plugin name without "payment-"',
    token_index BINARY(32)     NOT NULL COMMENT 'of the vault; tells nothing by itself',
    sealed      VARBINARY(1024) NOT NULL COMMENT 'JSON {method, customer}, sealed',
    brand       VARCHAR(32)        NULL,
    last4       CHAR(4) CHARACTER SET ascii NULL,
    exp_month   TINYINT UNSIGNED   NULL,
    exp_year    SMALLINT UNSIGNED  NULL,
    created_at  DATETIME(3)    NOT NULL,
    deleted_at  DATETIME(3)        NULL COMMENT 'by the shopper; the provider is still to forget it',
    PRIMARY KEY (id),
    UNIQUE KEY saved_payment_methods_token (customer_id, provider, token_index),
    CONSTRAINT saved_payment_methods_customer FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE RESTRICT
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
