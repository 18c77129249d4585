---@meta till.util.text
-- Written by scripts/lint-surface --write.

--- Texts, and small helpers for sentences.
---@class till.util.text
local text_ = {}

--- Is it UTF-8?
---@param s string
---@return boolean is_it
function text_.valid(s) end

--- Is it UTF-8 without NUL?
---@param s string
---@return boolean is_it
function text_.clean(s) end

--- Of UTF-8.
---@param s string
---@return integer characters
function text_.length(s) end

--- Without blanks and tabs at both ends.
---@param s string
---@param from? integer
---@param to? integer
---@return string text
function text_.trim(s, from, to) end

--- Without white space of any kind at both ends.
---@param s string
---@return string text
function text_.strip(s) end

--- The closest of the list, where it may be a slip of the pen.
---@param word string
---@param list string[]
---@return string? near
function text_.nearest(word, list) end

--- "a, b or c".
---@param words string[]
---@param last? string
---@return string text
function text_.list(words, last) end

return text_
