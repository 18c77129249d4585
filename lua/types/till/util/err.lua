---@meta till.util.err
-- Written by scripts/lint-surface --write.

--- The one kind of error value.
---@class till.util.err
local err_ = {}

--- A code that is not in core/base/status.h throws.
---@param code string
---@param message string
---@param fields? table
---@return till.Err err
function err_.new(code, message, fields) end

--- Is it an error (of that code)?
---@param value any
---@param code? string
---@return boolean is_it
function err_.is(value, code) end

---@class till.Err
local of_err = {}

--- Puts `where` before its trace, and returns it.
---@param where string
---@return till.Err err
function of_err:at(where) end

return err_
