-- What tests/bench/bench_order.c and bench_combine.c call: a cart with one line, reserved and with a payment session, becomes
-- an order. bench_rows leaves the rows that lua/till/flow/checkout.lua leaves, but for the contended one, the stock's, which
-- @bench_variant, @bench_location and @bench_quantity name then; bench_place is one transaction for one buyer, that row last.
CREATE OR REPLACE PROCEDURE bench_rows(p_cart BINARY(16), p_order BINARY(16), p_line BINARY(16), p_entries BINARY(16),
    p_trace MEDIUMTEXT, p_address TEXT, p_line_trace TEXT, p_sku VARCHAR(100), p_answer MEDIUMBLOB)
BEGIN
    DECLARE v_variant, v_location, v_payment, v_key BINARY(16);
    DECLARE v_quantity, v_amount BIGINT;
    DECLARE v_generation, v_option VARCHAR(120);
    DECLARE v_name VARCHAR(64) DEFAULT CONCAT('ord_', LOWER(HEX(p_order)));

    UPDATE carts SET state = 'completed', order_id = p_order, version = version + 1 WHERE id = p_cart AND state = 'open';
    IF ROW_COUNT() <> 1 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the cart is not open'; END IF;
    SELECT p.id, p.amount, c.key_id, c.generation, c.shipping_option_id
        INTO v_payment, v_amount, v_key, v_generation, v_option
        FROM payments p JOIN carts c ON c.id = p.cart_id WHERE p.cart_id = p_cart ORDER BY p.id DESC LIMIT 1;
    SELECT variant_id, location_id, quantity INTO v_variant, v_location, v_quantity
        FROM reservations WHERE cart_id = p_cart AND state = 'held' FOR UPDATE;
    INSERT INTO orders (id, cart_id, key_id, payment_status, email, currency, subtotal, discount_total, shipping_total,
        tax_total, total, shipping_address, billing_address, shipping_option_id, shipping_label, promotions, price_trace,
        generation, placed_at)
        VALUES (p_order, p_cart, v_key, 'authorized', 'ada@example.com', 'GBP', v_amount, 0, 0, 0, v_amount, p_address,
        p_address, v_option, v_option, '[]', p_trace, v_generation, NOW(3));
    INSERT INTO order_lines (id, order_id, position, variant_id, sku, title, quantity, unit_price, subtotal,
        discount_total, tax_total, total, trace)
        VALUES (p_line, p_order, 1, v_variant, p_sku, p_sku, v_quantity, v_amount, v_amount, 0, 0, v_amount, p_line_trace);
    INSERT INTO ledger_entries (transaction_id, account, currency, amount, order_id, payment_id)
        VALUES (p_entries, 'receivable', 'GBP', v_amount, p_order, v_payment),
        (p_entries, 'sales', 'GBP', -v_amount, p_order, v_payment), (p_entries, 'shipping', 'GBP', 0, p_order, v_payment),
        (p_entries, 'tax', 'GBP', 0, p_order, v_payment);
    INSERT INTO order_events (order_id, type, actor, data) VALUES (p_order, 'placed', 'shopper', '{"payment_status":"authorized"}');
    INSERT INTO outbox (aggregate, type, payload, traceparent)
        VALUES (CONCAT('order:', v_name), 'order.placed', JSON_OBJECT('order_id', v_name), REPEAT('0', 55)),
        (CONCAT('stock:', v_name), 'stock.changed', JSON_OBJECT('skus', p_sku), REPEAT('0', 55));
    INSERT INTO sagas (name, aggregate, state, step, data) VALUES ('checkout', v_name, 'done', 3, '{}');
    INSERT INTO idempotency_records (scope, idem_key, fingerprint, state, claim, claimed_until, http_status, headers, body,
        finished_at) VALUES (REPEAT('0', 32), HEX(p_cart), REPEAT('1', 32), 'done', 1, NOW(3), 200, '{}', p_answer, NOW(3));
    INSERT INTO payment_events (payment_id, seq, kind, amount, actor) VALUES (v_payment, 2, 'send', 0, 'system'),
        (v_payment, 3, 'authorized', v_amount, 'system');
    UPDATE payments SET state = 'authorized', order_id = p_order WHERE id = v_payment;
    UPDATE reservations SET state = 'sold' WHERE cart_id = p_cart AND state = 'held';
    INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta, reserved_delta, reference)
        VALUES (v_variant, v_location, 'sold', v_quantity, -v_quantity, -v_quantity, v_name);
    SET @bench_variant = v_variant, @bench_location = v_location, @bench_quantity = v_quantity;
END //

CREATE OR REPLACE PROCEDURE bench_place(p_cart BINARY(16), p_order BINARY(16), p_line BINARY(16), p_entries BINARY(16),
    p_trace MEDIUMTEXT, p_address TEXT, p_line_trace TEXT, p_sku VARCHAR(100), p_answer MEDIUMBLOB)
BEGIN
    DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;

    START TRANSACTION;
    CALL bench_rows(p_cart, p_order, p_line, p_entries, p_trace, p_address, p_line_trace, p_sku, p_answer);
    UPDATE stock SET on_hand = on_hand - @bench_quantity, reserved = reserved - @bench_quantity, version = version + 1
        WHERE variant_id = @bench_variant AND location_id = @bench_location AND reserved >= @bench_quantity;
    IF ROW_COUNT() <> 1 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'nothing is held'; END IF;
    COMMIT;
END //
