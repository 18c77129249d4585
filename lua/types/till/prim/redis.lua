---@meta till.prim.redis
-- Written by scripts/lint-surface --write.

--- Redis: speed, never truth. Keys and channels are the plugin's own.
---@class till.prim.redis
local redis_ = {}

--- Waits. Commands on one key. nil is false, an array a list. `conn_lost` at once while Redis is away, `overloaded`, `rejected`, `forbidden`.
---@param command string
---@param key? string
---@param ... string|number
---@return any reply
---@return till.Err? err
function redis_.call(command, key, ...) end

--- Waits.
---@param channel string
---@param text string
---@return integer? receivers
---@return till.Err? err
function redis_.publish(channel, text) end

--- fn(nil): messages may have been missed.
---@param channel string
---@param fn fun(text: string?)
---@return till.Subscription subscription
function redis_.subscribe(channel, fn) end

---@class till.Subscription
local of_subscription = {}

--- Ends it.
function of_subscription:close() end

return redis_
