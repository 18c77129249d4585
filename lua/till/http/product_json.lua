-- till/http/product_json - a product as lists, the search and its own page show it, encoded once.
--
--   product_json(product, currency, available) -> a value for json.encode
--
-- A list is two dozen products whose figures hardly ever change between two requests: what was
-- encoded is kept with the product, as long as that is cached, and made anew when the units that
-- are available or the currency differ.
local json = require "till.prim.json"
local views = require "till.http.views"

local kept = setmetatable({}, { __mode = "k" })


local function is_same(known, variants, available)
  for i = 1, #variants do
    if known[i] ~= (available[variants[i].id] or 0) then return false end
  end
  return true
end


return function(product, currency, available)
  local known, variants = kept[product], product.variants
  if known and known.currency == currency and is_same(known, variants, available) then
    return known.raw
  end
  local view = views.product(product, { currency = currency, available = available })
  known = { currency = currency, raw = json.raw(json.encode(view)) }
  for i, variant in ipairs(variants) do known[i] = available[variant.id] or 0 end
  kept[product] = known
  return known.raw
end
