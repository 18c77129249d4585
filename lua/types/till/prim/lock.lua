---@meta till.prim.lock
-- Written by scripts/lint-surface --write.

--- Leased locks with fences, each plugin's names its own.
---@class till.prim.lock
local lock_ = {}

--- Waits. 5000 and 1000 ms. `busy`, `conn_lost`.
---@param name string
---@param options? {lease_ms?: integer, wait_ms?: integer}
---@return till.Lock? lock
---@return till.Err? err
function lock_.acquire(name, options) end

--- Waits. What fn returned, up to 4 values, or nil, err; released also when it throws.
---@param name string
---@param options table?
---@param fn fun(lock: till.Lock): any
---@return any result
function lock_.with(name, options, fn) end

---@class till.Lock
local of_lock = {}

--- Only grows: write it beside what the lock protects.
---@return integer number
function of_lock:fence() end

--- Twice is allowed; the end of the call does it too.
function of_lock:release() end

return lock_
