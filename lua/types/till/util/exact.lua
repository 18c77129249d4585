---@meta till.util.exact
-- Written by scripts/lint-surface --write.

--- Exact arithmetic on whole numbers >= 0 and fractions.
---@class till.util.exact
---@field MAX integer 2^53 - 1.
local exact_ = {}

--- Of any size.
---@param a integer
---@param b integer
---@return integer sum
function exact_.add(a, b) end

--- `a` is not below `b`.
---@param a integer
---@param b integer
---@return integer difference
function exact_.subtract(a, b) end

--- Of any size.
---@param a integer
---@param b integer
---@return integer product
function exact_.multiply(a, b) end

--- Whole.
---@param a integer
---@param b integer
---@return integer quotient
---@return integer remainder
function exact_.divide(a, b) end

--- -1, 0 or 1.
---@param a integer
---@param b integer
---@return integer order
function exact_.compare(a, b) end

--- Reduced.
---@param n integer
---@param d integer
---@return till.Fraction fraction
function exact_.fraction(n, d) end

--- "9.975".
---@param text string
---@return till.Fraction? fraction
function exact_.parse(text) end

--- Exact.
---@param x till.Fraction
---@param y till.Fraction
---@return till.Fraction sum
function exact_.plus(x, y) end

--- Exact.
---@param x till.Fraction
---@param y till.Fraction
---@return till.Fraction product
function exact_.times(x, y) end

--- Exact.
---@param x till.Fraction
---@param y till.Fraction
---@return till.Fraction quotient
function exact_.over(x, y) end

--- -1, 0, 1.
---@param x till.Fraction
---@param y till.Fraction
---@return integer order
function exact_.compare_fractions(x, y) end

--- a * n / d, rounded once.
---@param a integer
---@param n integer
---@param d integer
---@param mode? "half_up"|"half_even"
---@return integer rounded
function exact_.scale(a, n, d, mode) end

return exact_
