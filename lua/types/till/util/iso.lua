---@meta till.util.iso
-- Written by scripts/lint-surface --write.

--- The countries of ISO 3166-1.
---@class till.util.iso
local iso_ = {}

--- Is it an assigned code, in upper case?
---@param code string
---@return boolean is_it
function iso_.country(code) end

--- Sorted.
---@return string[] codes
function iso_.countries() end

return iso_
