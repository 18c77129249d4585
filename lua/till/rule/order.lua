-- till/rule/order - promotions on the order and on its shipping.
local effect = require "till.rule.effect"
local money = require "till.money"

local order = {}

local min, max = math.min, math.max


local function weigh(run, promotion, amounts)
  local weights, sum = {}, 0
  for i = 1, #run.left do
    local weight = promotion.on[i] and run.left[i] > 0 and amounts[i] or 0
    weights[i] = weight
    sum = sum + weight
  end
  return weights, sum
end


local function apply_to_lines(run, promotion, terms, at_start)
  local weights, left = weigh(run, promotion, run.left)
  local amount = terms.value
  if terms.rate then
    local base = left
    if promotion.original then
      local _, original = weigh(run, promotion, at_start)
      base = original
    end
    amount = money.round(base, terms.rate, run.cart.mode)
  end
  effect.take_from_lines(run, promotion, money.split(min(amount, left), weights))
end


local function all_terms(run, promotions)
  local terms = {}
  for k, promotion in ipairs(promotions) do terms[k] = effect.terms(run, promotion) or false end
  return terms
end


-- Conditions are all held against the amounts at the start of the level, before any is applied.
function order.apply(run, promotions)
  if #promotions == 0 then return end
  local terms = all_terms(run, promotions)
  local at_start = effect.copy(run.left)
  for k, promotion in ipairs(promotions) do
    if terms[k] then apply_to_lines(run, promotion, terms[k], at_start) end
  end
end


local function shipping_discount(run, promotion, terms)
  local left = run.shipping_left
  if promotion.type == "free" then return left end
  if terms.rate then
    local base = promotion.original and run.cart.shipping or left
    return min(left, money.round(base, terms.rate, run.cart.mode))
  end
  if promotion.type == "fixed_price" then return max(0, left - terms.value) end
  return min(left, terms.value)
end


function order.apply_to_shipping(run, promotions)
  if #promotions == 0 then return end
  local terms = all_terms(run, promotions)
  for k, promotion in ipairs(promotions) do
    if terms[k] then
      effect.take_from_shipping(run, promotion, shipping_discount(run, promotion, terms[k]))
    end
  end
end


return order
