---@meta till.money
-- Written by scripts/lint-surface --write.

--- Amounts: whole counts of a currency's minor unit.
---@class till.money
local money_ = {}

--- Decimals of an ISO 4217 currency; nil where it is unknown.
---@param code string
---@return integer? decimals
function money_.exponent(code) end

--- Shares that add up to the amount, by largest remainder.
---@param amount integer
---@param weights number[]
---@return integer[] shares
function money_.split(amount, weights) end

--- `extra` of the `count` parts carry one unit more than `each`.
---@param amount integer
---@param count integer
---@return integer each
---@return integer extra
function money_.even(amount, count) end

--- What the parts `from` .. `to`-1 (from 0) of an even split come to.
---@param amount integer
---@param count integer
---@param from integer
---@param to integer
---@return integer part
function money_.even_part(amount, count, from, to) end

--- The amount times an exact fraction, rounded once.
---@param amount integer
---@param rate till.Fraction
---@param mode? "half_up"|"half_even"
---@return integer amount
function money_.round(amount, rate, mode) end

--- The nearest multiple of the step; a tie goes up.
---@param amount integer
---@param step integer
---@return integer amount
function money_.round_to(amount, step) end

--- "1234.50", by a currency or a number of decimals; an unknown currency throws.
---@param amount integer
---@param currency string|integer
---@return string text
function money_.format(amount, currency) end

--- nil where it is no amount, or has more decimals than the currency.
---@param text string
---@param currency string|integer
---@return integer? amount
function money_.parse(text, currency) end

return money_
