-- What tests/bench/bench_hot.c writes: an order of the least there can be, its two lines and one event, of the one SKU.
CREATE OR REPLACE TABLE bench_hot_stock (sku INT PRIMARY KEY, quantity BIGINT NOT NULL) //
CREATE OR REPLACE TABLE bench_hot_orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, buyer BIGINT NOT NULL, total BIGINT NOT NULL) //
CREATE OR REPLACE TABLE bench_hot_lines (id BIGINT AUTO_INCREMENT PRIMARY KEY, order_id BIGINT NOT NULL, sku INT NOT NULL,
    quantity INT NOT NULL, price BIGINT NOT NULL, KEY (order_id)) //
CREATE OR REPLACE TABLE bench_hot_outbox (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(32) NOT NULL, payload TEXT NOT NULL) //
INSERT INTO bench_hot_stock VALUES (1, 1000000000) //
