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


local function key_of(product, currency, available)
  local parts = { currency }
  for i, variant in ipairs(product.variants) do parts[i + 1] = available[variant.id] or 0 end
  return table.concat(parts, ",")
end


return function(product, currency, available)
  local key, known = key_of(product, currency, available), kept[product]
  if known and known.key == key then return known.raw end
  local view = views.product(product, { currency = currency, available = available })
  local raw = json.raw(json.encode(view))
  kept[product] = { key = key, raw = raw }
  return raw
end
