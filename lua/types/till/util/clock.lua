---@meta till.util.clock
-- Written by scripts/lint-surface --write.

--- Times as text and as milliseconds since 1970; no clock.
---@class till.util.clock
---@field SECOND integer In milliseconds.
---@field MINUTE integer In milliseconds.
---@field HOUR integer In milliseconds.
---@field DAY integer In milliseconds.
local clock_ = {}

--- RFC 3339 with any offset; real dates only.
---@param text string
---@return integer? ms
function clock_.parse(text) end

--- "2026-11-20T10:00:00.123Z".
---@param ms integer
---@return string text
function clock_.format(ms) end

--- "2026-11-20".
---@param ms integer
---@return string text
function clock_.day(ms) end

--- Is it a real "YYYY-MM-DD"?
---@param text string
---@return boolean is_it
function clock_.date(text) end

return clock_
