---@meta till.prim.metrics
-- Written by scripts/lint-surface --write.

--- Numbers for /metrics; a series is kept for ever, so labels have few values.
---@class till.prim.metrics
local metrics_ = {}

--- A counter: `..._total`.
---@param name string
---@param labels? table<string, string>
---@param n? number
function metrics_.add(name, labels, n) end

--- A gauge.
---@param name string
---@param labels table<string, string>?
---@param value number
function metrics_.set(name, labels, value) end

--- A histogram.
---@param name string
---@param labels table<string, string>?
---@param seconds number
function metrics_.observe(name, labels, seconds) end

return metrics_
