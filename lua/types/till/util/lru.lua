---@meta till.util.lru
-- Written by scripts/lint-surface --write.

--- A map that forgets what was used longest ago.
---@class till.util.lru
local lru_ = {}

--- At most `max` entries.
---@param max integer
---@return till.Lru map
function lru_.new(max) end

---@class till.Lru
local of_lru = {}

--- nil where it is absent or too old.
---@param key any
---@param now number
---@return any value
function of_lru:get(key, now) end

--- In the unit of `now`.
---@param key any
---@param value any
---@param until_? number
function of_lru:set(key, value, until_) end

--- Forgets one.
---@param key any
function of_lru:drop(key) end

--- Forgets all.
function of_lru:clear() end

--- How many there are.
---@return integer entries
function of_lru:count() end

return lru_
