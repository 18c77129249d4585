---@meta till.prim.amqp
-- Written by scripts/lint-surface --write.

--- Messages to the RabbitMQ brokers that `capabilities` name.
---@class till.prim.amqp
local amqp_ = {}

--- Waits until the broker has confirmed each: "confirmed", "unroutable" or "refused". `unavailable`, `timeout`, `forbidden`. What the tables hold: lua/till/prim/amqp.lua.
---@param target table
---@param messages table[]
---@return string[]? verdicts
---@return till.Err? err
function amqp_.publish(target, messages) end

return amqp_
