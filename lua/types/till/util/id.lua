---@meta till.util.id
-- Written by scripts/lint-surface --write.

--- Public ids: a prefix that says what it is, and a ULID.
---@class till.util.id
local id_ = {}

--- "cart_01J9..."; an unknown prefix throws.
---@param prefix string
---@return string id
function id_.new(prefix) end

--- The 16 bytes that the tables hold; nil where it is no such id.
---@param prefix string
---@param text string
---@return string? bytes
function id_.bin(prefix, text) end

--- The other way.
---@param prefix string
---@param bin string
---@return string id
function id_.text(prefix, bin) end

--- Is it such an id?
---@param prefix string
---@param text string
---@return boolean is_it
function id_.valid(prefix, text) end

return id_
