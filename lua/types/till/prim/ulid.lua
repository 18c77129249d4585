---@meta till.prim.ulid
-- Written by scripts/lint-surface --write.

--- Ids that sort by time.
---@class till.prim.ulid
local ulid_ = {}

--- 16 of them.
---@return string bytes
function ulid_.new() end

--- 26 characters.
---@param bin string
---@return string text
function ulid_.text(bin) end

--- nil where it is none.
---@param text string
---@return string? bytes
function ulid_.bin(text) end

return ulid_
