---@meta till.prim.co
-- Written by scripts/lint-surface --write.

--- Calls, and waiting for one another.
---@class till.prim.co
local co_ = {}

--- A call of its own, begun at the end of this turn; it may take 30,000 ms.
---@param fn function
---@param ... any
function co_.spawn(fn, ...) end

--- Has this generation been replaced?
---@return boolean is_it
function co_.closing() end

--- A meeting point.
---@return till.Waiter waiter
function co_.waiter() end

--- Of the call's deadline; nil where it has none.
---@return number? ms
function co_.time_left() end

--- Is the call over? Waits fail at once then.
---@return boolean is_it
function co_.cancelled() end

--- 64 hex digits.
---@return string name
function co_.generation() end

--- "web-0", "jobs-1".
---@return string name
function co_.process() end

---@class till.Waiter
local of_waiter = {}

--- Waits. `timeout`, `cancelled`.
---@param ms integer
---@return any value
---@return till.Err? err
function of_waiter:wait(ms) end

--- Wakes all who wait; met by nobody it is kept for the next.
---@param value? any
function of_waiter:signal(value) end

return co_
