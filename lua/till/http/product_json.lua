-- till/http/product_json - a product as lists, the search and its own page show it, encoded once.
--
--   product_json(product, currency, offers) -> a value for json.encode
--
-- A list is two dozen products whose figures hardly ever change between two requests: what was
-- encoded is kept with the product, as long as that is cached, and made anew when what is offered
-- of it or the currency differ.
local json = require "till.prim.json"
local views = require "till.http.views"

local kept = setmetatable({}, { __mode = "k" })


local function is_same(known, variants, offers)
  for i = 1, #variants do
    local offer = offers[variants[i].id]
    if known[i] ~= offer.version or known.available[i] ~= offer.available then return false end
  end
  return true
end


return function(product, currency, offers)
  local known, variants = kept[product], product.variants
  if known and known.currency == currency and is_same(known, variants, offers) then
    return known.raw
  end
  local view = views.product(product, { currency = currency, offers = offers })
  known = { currency = currency, available = {}, raw = json.raw(json.encode(view)) }
  for i, variant in ipairs(variants) do
    local offer = offers[variant.id]
    known[i], known.available[i] = offer.version, offer.available
  end
  kept[product] = known
  return known.raw
end
