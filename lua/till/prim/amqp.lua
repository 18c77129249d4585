-- till/prim/amqp - messages to RabbitMQ (AMQP 0-9-1), each confirmed by it (core/io/amqp.h).
--
--   publish(target, messages) waits -> verdicts, reasons | nil, err
--     verdicts: one a message, in their order: "confirmed", "unroutable" (no queue wanted it),
--             "refused" (the broker could not take it) or "closed" (the broker closed the channel
--             over it: too large, say, or a topic that is not for us; the others went all the same)
--     reasons: of what is "closed" the broker's words, under its number
--     target: { host =, port =, vhost =, user =, password =, exchange =, declare = make it where
--             it is not there, tls =, ca_file =, timeout_ms = 20000 }
--     messages: 1 to 1000 of { routing_key =, id =, type =, body =, aggregate =, traceparent =,
--             timestamp = seconds }; each is persistent, and has JSON for its content type
--   err.code: unavailable (the broker is away, or does not let us in: err.message says which),
--   timeout, cancelled. Messages of a call that failed may have arrived all the same.
-- A process has one thread for it, and keeps its connections.
local c = require "till.c.amqp"

return { publish = c.publish }
