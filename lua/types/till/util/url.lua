---@meta till.util.url
-- Written by scripts/lint-surface --write.

--- Percent-encoding and query strings.
---@class till.util.url
local url_ = {}

--- Strict; "+" stays a plus.
---@param s string
---@return string? text
---@return string? why
function url_.decode(s) end

--- All but unreserved characters escaped.
---@param s string
---@return string text
function url_.encode(s) end

--- By name, in order; "+" is a space.
---@param s string
---@return table<string, string[]>? values
---@return string? why
function url_.query(s) end

--- Decoded.
---@param path string
---@return string[]? segments
---@return string? why
function url_.segments(path) end

--- "a=1&b=2", names sorted.
---@param params table<string, string>
---@return string text
function url_.build(params) end

return url_
