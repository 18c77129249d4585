---@meta till.prim.http
-- Written by scripts/lint-surface --write.

--- HTTP to the hosts that `capabilities` name; redirects are not followed.
---@class till.prim.http
local http_ = {}

--- Waits. Every status is an answer. `forbidden`: the host is not declared; `timeout`, `conn_lost`, `overloaded`. `err.sent`: it may have arrived.
---@param options till.HttpOptions
---@return till.HttpResponse? response
---@return till.Err? err
function http_.request(options) end

--- Counts its requests under its name.
---@deprecated since 0.5, `capabilities` do it: take the call out
---@param host string
function http_.name_host(host) end

return http_
