---@meta till.prim.json
-- Written by scripts/lint-surface --write.

--- JSON, strict in, the same bytes for the same value out.
---@class till.prim.json
---@field null any What null is decoded to.
local json_ = {}

--- Keys sorted; throws on what cannot be JSON.
---@param value any
---@return string text
function json_.encode(value) end

--- `malformed_json`, with `offset` in bytes.
---@param text string
---@return any value
---@return till.Err? err
function json_.decode(text) end

--- Marks it as an array, for when it is empty.
---@param t table
---@return table t
function json_.array(t) end

--- A value that `encode` puts in as it is.
---@param text string
---@return any value
function json_.raw(text) end

return json_
