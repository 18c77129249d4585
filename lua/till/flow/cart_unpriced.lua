-- till/flow/cart_unpriced - lines of a cart that have no price in its currency any more, or whose
-- product is gone. With one of them a cart cannot be priced, so it could not be changed either.
--
--   take_out(cart) -> the lines that it had of these | nil, err
local catalog = require "till.flow.catalog"
local pricing = require "till.flow.pricing"

local cart_unpriced = {}


function cart_unpriced.take_out(cart)
  local ids, stays, out = {}, {}, {}
  for i, line in ipairs(cart.lines) do ids[i] = line.variant_id end
  local variants, e = catalog.variants(ids)
  if not variants then return nil, e end
  for _, line in ipairs(cart.lines) do
    local variant = variants[line.variant_id]
    local list = variant and pricing.has_price(variant, cart.currency) and stays or out
    list[#list + 1] = line
  end
  cart.lines = stays
  return out
end


return cart_unpriced
