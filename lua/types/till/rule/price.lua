---@meta till.rule.price
-- Written by scripts/lint-surface --write.

--- What a cart costs; lua/till/rule/price.lua tells it all.
---@class till.rule.price
local price_ = {}

--- `{status = "ok", ...}` or `{status = "error", error = code}`.
---@param given table
---@return table result
function price_.calculate(given) end

return price_
