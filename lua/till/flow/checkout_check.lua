-- till/flow/checkout_check - is everything there that an order needs, and does no plugin and no
-- rule object?
--
--   check(cart, quote) -> true | nil, err(cart_incomplete): all of it, with pointers
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local rulebook = require "till.flow.rulebook"


local function missing(cart)
  local out = {}
  local function need(condition, pointer, detail)
    if condition then return end
    out[#out + 1] = { pointer = pointer, detail = detail, code = "missing" }
  end
  need(#cart.lines > 0, "/lines", "the cart is empty")
  need(cart.email, "/email", "an e-mail address is needed")
  need(cart.shipping_address, "/shipping_address", "an address is needed")
  need(cart.shipping_option_id or not dispatch.has("shipping.quote"), "/shipping_option_id",
    "a shipping option is needed")
  return out
end


return function(cart, quote)
  local errors = missing(cart)
  for _, item in pairs(quote.items) do
    if not item.variant.sellable then
      errors[#errors + 1] = { pointer = "/lines", code = "gone",
        detail = item.variant.sku .. " is not sold any more" }
    end
  end
  local answers, e = dispatch.ask("cart.validate", quote.case.summary)
  if not answers then return nil, e end
  local objections, e2 = rulebook.objections(quote.case)
  if not objections then return nil, e2 end
  for _, answer in ipairs(answers) do
    errors[#errors + 1] = { pointer = answer.value.pointer or "", detail = answer.value.message,
      code = answer.value.code }
  end
  for _, o in ipairs(objections) do
    errors[#errors + 1] = { pointer = o.pointer or "", detail = o.message, code = o.code }
  end
  if #errors == 0 then return true end
  return nil, err.new("cart_incomplete", errors[1].detail, { errors = errors })
end
