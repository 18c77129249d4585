---@meta till.prim.log
-- Written by scripts/lint-surface --write.

--- One JSON line an event, with the call's trace.
---@class till.prim.log
local log_ = {}

--- "cart.completed"; no secrets.
---@param event string
---@param fields? table
function log_.debug(event, fields) end

--- Texts, numbers, booleans, errors.
---@param event string
---@param fields? table
function log_.info(event, fields) end

--- The same.
---@param event string
---@param fields? table
function log_.warn(event, fields) end

--- The same.
---@param event string
---@param fields? table
function log_.error(event, fields) end

--- Personal data: masks itself on the line.
---@param s string
---@return table masked
function log_.email(s) end

--- The same.
---@param s string
---@return table masked
function log_.name(s) end

--- The same.
---@param s string
---@return table masked
function log_.phone(s) end

return log_
