---@meta till.prim.time
-- Written by scripts/lint-surface --write.

--- Clocks and moments.
---@class till.prim.time
local time_ = {}

--- Wall clock since 1970: for what is stored and shown.
---@return integer ms
function time_.now_ms() end

--- A clock that never steps: for what is measured.
---@return number ms
function time_.mono_ms() end

--- The same in microseconds.
---@return number us
function time_.mono_us() end

--- Waits. `timeout`, `cancelled`.
---@param ms integer
---@return boolean? done
---@return till.Err? err
function time_.sleep(ms) end

--- "2026-11-20T10:00:00.123Z".
---@param ms integer
---@return string text
function time_.rfc3339(ms) end

--- For DATETIME parameters.
---@param ms integer
---@return string text
function time_.sql(ms) end

--- RFC 3339, or SQL's form taken as UTC.
---@param text string
---@return integer? ms
function time_.parse(text) end

return time_
