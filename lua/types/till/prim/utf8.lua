---@meta till.prim.utf8
-- Written by scripts/lint-surface --write.

--- What text may be; as till.util.text, faster.
---@class till.prim.utf8
local utf8_ = {}

--- Is it UTF-8?
---@param s string
---@return boolean is_it
function utf8_.valid(s) end

--- Is it UTF-8 without NUL?
---@param s string
---@return boolean is_it
function utf8_.clean(s) end

return utf8_
