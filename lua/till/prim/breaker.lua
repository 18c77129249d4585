-- till/prim/breaker - whether a provider is asked at all (core/trade/breaker.h); state is kept in
-- this worker's memory, and begins anew with a generation.
--
--   new(terms) -> breaker    closed. terms { window_ms, min_calls, failure_percent, cooldown_ms,
--                            probes, lease_ms }, whole numbers of at least 1, window_ms of 10
--     breaker:ask(now_ms) -> may he ask?, ticket        not: he is refused, and the ticket is 0
--     breaker:tell(ticket, failed, now_ms)    what became of it, once
--     breaker:drop(ticket)     he was let through and did not ask
--     breaker:state(now_ms) -> "closed" | "half_open" | "open", ms that it refuses still
--   bulkhead(limit) -> bulkhead    0: any number
--     bulkhead:enter() -> boolean;  bulkhead:leave();  bulkhead:inside() -> number
--   wait(policy, made, elapsed_ms) -> ms | nil    before the next attempt of what is idempotent;
--                            nil: there is none. policy { max_attempts, base_ms, cap_ms, total_ms }
--
-- now_ms is a clock that never steps (till.prim.time.mono_ms). Wrong arguments throw.
local c = require "till.c.breaker"

local breaker = { new = c.new, bulkhead = c.bulkhead }


function breaker.wait(policy, made, elapsed_ms)
  return c.retry_wait(policy, made, elapsed_ms, math.random(0, 2 ^ 31 - 1))
end


return breaker
