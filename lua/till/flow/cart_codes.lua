-- till/flow/cart_codes - codes that a shopper enters: of the shop's promotions, and of merchants'
-- rules that hang on one.
--
--   add(text), remove(text)     what till.flow.cart.change takes. A code that gives nothing is
--                               refused, with the reason
local err = require "till.util.err"
local promotions = require "till.store.promotions"
local rulebook = require "till.flow.rulebook"

local cart_codes = {}


local REASONS = {
  code_not_entered = "it was not entered", not_started = "it has not begun yet",
  expired = "it is over", usage_limit = "it was used up",
  customer_limit = "you have used it already",
  customer_group = "it is for another group of customers",
  region = "it is not for your country",
  min_subtotal = "the cart is below its minimum spend",
  min_qty = "the cart has too few pieces of it",
  not_combinable = "it does not go together with a better one",
  no_effect = "it would give nothing",
  budget_exceeded = "its budget is used up",
}


local function refused(promotion, reason)
  return nil, err.new("promotion_refused", ("%s does not apply: %s"):format(promotion.code,
    REASONS[reason] or reason), { reason = reason, promotion = promotion.code })
end


local function of_promotion(promotion)
  return function(quote)
    if not quote.labels[promotion.id] then return refused(promotion, "another currency") end
    local reason = quote.result.rejected[promotion.id]
    if reason then return refused(promotion, reason) end
    return true
  end
end


-- A merchant's rule hangs on it: it is good for what the rule gives.
local function of_rule(code)
  return function(quote)
    local reason = "no_effect"
    for promotion_id, label in pairs(quote.labels) do
      if label.rule and label.code == code then
        if quote.result.applied[promotion_id] then return true end
        reason = quote.result.rejected[promotion_id] or reason
      end
    end
    return refused({ code = code }, reason)
  end
end


-- -> what has to hold once the cart is priced with it
local function check_of(code)
  local promotion, e = promotions.find_code(code)
  if promotion == nil then return nil, e end
  if promotion and promotion.status == "active" then return of_promotion(promotion) end
  if rulebook.has_code(code) then return of_rule(code) end
  return nil, err.new("promotion_unknown", ("there is no promotion with the code %s"):format(code))
end


function cart_codes.add(text)
  local code = promotions.normal(text)
  return function(cart)
    local check, e = check_of(code)
    if not check then return nil, e end
    for _, entered in ipairs(cart.codes) do
      if entered == code then return true end
    end
    cart.codes[#cart.codes + 1] = code
    cart.check = check
    return true
  end
end


function cart_codes.remove(text)
  local code = promotions.normal(text)
  return function(cart)
    for i, entered in ipairs(cart.codes) do
      if entered == code then
        table.remove(cart.codes, i)
        return true
      end
    end
    return nil, err.new("not_found", "this code is not in the cart")
  end
end


return cart_codes
