---@meta till.prim.sql
-- Written by scripts/lint-surface --write.

--- Statements in MariaDB; each `?` takes a text, number, boolean, bytes or null.
---@class till.prim.sql
---@field null any NULL among the parameters; nil does too.
local sql_ = {}

--- Waits. By column name; NULL columns are absent, DECIMAL is a text. `timeout`, `conn_lost`, `deadlock`, `duplicate`, `rejected`, `overloaded`, `out_of_range`, `forbidden`.
---@param text string
---@param ... any
---@return table[]? rows
---@return till.Err? err
function sql_.query(text, ...) end

--- Waits. The first row, false where there is none.
---@param text string
---@param ... any
---@return table|false|nil row
---@return till.Err? err
function sql_.one(text, ...) end

--- Waits.
---@param text string
---@param ... any
---@return {affected: integer, insert_id: integer}? done
---@return till.Err? err
function sql_.exec(text, ...) end

--- Waits. What fn returned, up to 4 values; nil, err or throwing rolls back; a deadlock runs it again (3 attempts).
---@param fn fun(tx: till.Tx): any
---@param options? {attempts?: integer, timeout_ms?: integer}
---@return any result
---@return till.Err? err
function sql_.transaction(fn, options) end

--- "?, ?, ?" for a list.
---@param n integer
---@return string text
function sql_.marks(n) end

--- Marks a parameter as binary.
---@param s string
---@return any parameter
function sql_.bytes(s) end

---@class till.Tx
local of_tx = {}

--- Waits.
---@param text string
---@param ... any
---@return table[]? rows
---@return till.Err? err
function of_tx:query(text, ...) end

--- Waits.
---@param text string
---@param ... any
---@return table|false|nil row
---@return till.Err? err
function of_tx:one(text, ...) end

--- Waits.
---@param text string
---@param ... any
---@return {affected: integer, insert_id: integer}? done
---@return till.Err? err
function of_tx:exec(text, ...) end

return sql_
