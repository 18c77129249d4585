local exact = require "till.util.exact"
local money = require "till.money"

local handler = {}


-- Shelf prices of the set's products, or nil while the set is incomplete.
local function set_of(lines, skus)
  local by_sku, out = {}, {}
  for _, line in ipairs(lines) do by_sku[line.sku] = line end
  for i, sku in ipairs(skus) do
    if not by_sku[sku] then return nil end
    out[i] = by_sku[sku].unit_price
  end
  return out
end


local function price_of(prices, percent)
  local total, cheapest = 0, prices[1]
  for _, amount in ipairs(prices) do
    total, cheapest = total + amount, math.min(cheapest, amount)
  end
  return total - money.round(cheapest, exact.fraction(percent, 100))
end


--- A set is a bundle with a price: the rules then see to it that no unit serves twice.
handler["promo.evaluate"] = function(config, cart)
  local prices = set_of(cart.lines, config.skus)
  if not prices then return nil end
  local components = {}
  for i, sku in ipairs(config.skus) do
    components[i] = { filter = { skus = { sku } }, qty = 1 }
  end
  return { { id = "bundle", level = "line", type = "bundle_price", components = components,
    price = price_of(prices, config.percent), label = config.label } }
end


return handler
