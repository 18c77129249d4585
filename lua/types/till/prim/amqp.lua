---@meta till.prim.amqp
-- Written by scripts/lint-surface --write.

--- Messages to the RabbitMQ brokers that `capabilities` name.
---@class till.prim.amqp
local amqp_ = {}

--- Waits until the broker has said what became of each: "confirmed", "unroutable", "refused" or "closed", of which `reasons` holds its words; or nil, err: `unavailable`, `timeout`, `forbidden`. What the tables hold: lua/till/prim/amqp.lua.
---@param target table
---@param messages table[]
---@return string[]? verdicts
---@return table|till.Err reasons
function amqp_.publish(target, messages) end

return amqp_
