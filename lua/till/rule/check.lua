-- till/rule/check - what makes a cart unpriceable, before anything is computed.
--
--   check.promotion(terms) -> boolean
--   check.given(given) -> nil, or the error code of the first fault in the order of the text:
--   invalid_quantity, invalid_price, duplicate_line_id, invalid_promotion, invalid_rounding
-- (amount_overflow shows only while computing.)
local exact = require "till.util.exact"
local rate = require "till.rule.rate"

local check = {}

local NONE = {}


local function is_whole(value)
  return type(value) == "number" and value % 1 == 0
end


local function is_amount(value)
  return is_whole(value) and value >= 0
end


local function is_count(value)
  return is_whole(value) and value >= 1
end


local function is_percent(value)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" then return false end
  local fraction = rate.percent(value)
  return fraction ~= nil and exact.compare(fraction.n, fraction.d) <= 0
end


-- With tiers the value comes from the tier that is reached; a value of its own is then not needed.
local function each_value(promotion, is_good)
  if type(promotion.tiers) ~= "table" then return is_good(promotion.value) end
  for _, tier in ipairs(promotion.tiers) do
    if not is_amount(tier.min_subtotal) or not is_good(tier.value) then return false end
  end
  return promotion.value == nil or is_good(promotion.value)
end


local function percent(promotion)
  return each_value(promotion, is_percent)
end


local function amount(promotion)
  return each_value(promotion, is_amount)
end


local function buy_x_get_y(promotion)
  local buy, get = promotion.buy or NONE, promotion.get or NONE
  if not is_count(buy.qty) or not is_count(get.qty) then return false end
  if get.percent ~= nil then
    return is_percent(get.percent) and get.amount == nil and get.fixed_price == nil
  end
  if get.amount ~= nil then return is_amount(get.amount) and get.fixed_price == nil end
  return is_amount(get.fixed_price)
end


local function n_for_m(promotion)
  return is_count(promotion.n) and is_amount(promotion.m) and promotion.n > promotion.m
end


local function bundle_price(promotion)
  local components = promotion.components
  if type(components) ~= "table" or #components == 0 then return false end
  for _, component in ipairs(components) do
    if not is_count(component.qty) then return false end
  end
  return is_amount(promotion.price)
end


local function multi_price(promotion)
  return is_count(promotion.n) and is_amount(promotion.price)
end


local TYPES = {
  line = {
    percent = percent, amount_per_unit = amount, fixed_price = amount,
    buy_x_get_y = buy_x_get_y, n_for_m = n_for_m,
    bundle_price = bundle_price, multi_price = multi_price,
  },
  order = { percent = percent, amount = amount },
  shipping = {
    percent = percent, amount = amount, fixed_price = amount,
    free = function() return true end,
  },
}


--- Could it be priced with? Whoever made it is told before a cart is spoilt by it.
function check.promotion(promotion)
  local types = TYPES[promotion.level]
  local is_good = types and types[promotion.type]
  if not is_good or not is_good(promotion) then return false end
  if promotion.max_discount ~= nil and not is_amount(promotion.max_discount) then return false end
  local limit = promotion.max_applications
  return limit == nil or is_whole(limit)
end


local function quantities(lines)
  for i = 1, #lines do
    if not is_amount(lines[i].qty) then return "invalid_quantity" end
  end
end


local function prices(given)
  for _, line in ipairs(given.lines or NONE) do
    if not is_amount(line.unit_price) then return "invalid_price" end
    for _, entry in ipairs(line.prices or NONE) do
      if not is_amount(entry.unit_price) then return "invalid_price" end
    end
  end
  if given.shipping and not is_amount(given.shipping.amount) then return "invalid_price" end
end


local function line_ids(lines)
  local seen = {}
  for i = 1, #lines do
    local id = lines[i].id
    if seen[id] then return "duplicate_line_id" end
    seen[id] = true
  end
end


-- Results are keyed by promotion: two of one id could not be told apart.
local function promotions(list)
  local seen = {}
  for i = 1, #list do
    local id = list[i].id
    if seen[id] or not check.promotion(list[i]) then return "invalid_promotion" end
    seen[id] = true
  end
end


local MODES = { half_up = true, half_even = true }
local LEVELS = { line = true, unit = true, order = true }


local function rounding(given)
  local mode = given.rounding and given.rounding.mode
  local level = given.rounding and given.rounding.tax_level
  if mode ~= nil and not MODES[mode] or level ~= nil and not LEVELS[level] then
    return "invalid_rounding"
  end
  local increment = given.tender and given.tender.increment
  if increment ~= nil and not is_count(increment) then return "invalid_rounding" end
end


function check.given(given)
  local lines = given.lines or NONE
  return quantities(lines) or prices(given) or line_ids(lines)
    or promotions(given.promotions or NONE) or rounding(given)
end


return check
