---@meta till.prim.job
-- Written by scripts/lint-surface --write.

--- Work that is put off, for the plugin's own hook job.run.
---@class till.prim.job
local job_ = {}

--- Waits. A jobs worker does it, at least once, not before `delay_ms` have passed. Jobs of one `key` are done one after another, in this order.
---@param job string
---@param payload any
---@param options? {delay_ms?: integer, key?: string}
---@return true? done
---@return till.Err? err
function job_.enqueue(job, payload, options) end

return job_
