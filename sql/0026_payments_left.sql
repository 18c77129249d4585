-- 0026 payments left: an index for those without an order.
--
-- Every minute the shop looks for payments that pay for nothing (lua/till/flow/sweep.lua). Nearly
-- all have an order, so that index finds the few others without reading these.
--
-- Locking: an index is added online; writes go on.
-- Undo:    forward only; a later migration would drop the index.

ALTER TABLE payments
    ADD KEY payments_left (order_id, state, updated_at);
