-- support/shop - a small shop for the specs of flows: products with stock, carts to be bought.
--
--   local shop = require("tests.support.shop")(live_shop)
--   shop.product(sku, amount, quantity [, fields]) -> variant id
--   shop.cart({ { variant, quantity }, ... }) -> cart id, ready but for its payment
--   shop.pay(cart, provider, token), shop.complete(cart [, key, body]) -> status, body
local json = require "till.prim.json"

local ADDRESS = { first_name = "Ada", last_name = "Byron", address1 = "1 Row", city = "Bath",
  postal_code = "BA1", country = "GB" }


local function must(status, body, ...)
  if status >= 300 then error(("%d %s"):format(status, json.encode(body or {})), 3) end
  return body, ...
end


local function add_catalogue(shop, live)
  function shop.stock(sku, quantity)
    return must(live.admin("POST", "/admin/v1/inventory/" .. sku .. "/adjustments",
      { set_to = quantity, reason = "counted" }, shop.key()))
  end

  function shop.product(sku, amount, quantity, fields)
    local body = { handle = sku:lower(), title = "Product " .. sku, status = "active", variants = {
      { sku = sku, weight_g = 100, prices = { { currency = "GBP", amount = amount } } } } }
    for name, value in pairs(fields or {}) do body[name] = value end
    local made = must(live.admin("POST", "/admin/v1/products", body))
    shop.stock(sku, quantity)
    return made.product.variants[1].id, made.product
  end

  function shop.promotion(body)
    return must(live.admin("POST", "/admin/v1/promotions", body)).promotion
  end

  function shop.inventory(sku)
    return must(live.admin("GET", "/admin/v1/inventory/" .. sku)).inventory
  end
end


local function add_carts(shop, live)
  function shop.cart(lines)
    local cart = must(live.store("POST", "/store/v1/carts", {})).cart
    local path = "/store/v1/carts/" .. cart.id
    for _, line in ipairs(lines) do
      must(live.store("POST", path .. "/lines", { variant_id = line[1], quantity = line[2] }))
    end
    must(live.store("PATCH", path, { email = "ada@example.org", shipping_address = ADDRESS }))
    must(live.store("PATCH", path, { shipping_option_id = "flat:standard" }))
    return cart.id
  end

  function shop.pay(cart, provider, token)
    return live.store("POST", "/store/v1/carts/" .. cart .. "/payment-sessions",
      { provider = provider or "manual", data = token and { token = token } or nil })
  end

  function shop.complete(cart, headers, body)
    return live.store("POST", "/store/v1/carts/" .. cart .. "/complete", body or {},
      headers or shop.key())
  end
end


return function(live)
  local shop, n = { live = live, must = must }, 0

  function shop.key()
    n = n + 1
    return { ["idempotency-key"] = "spec-" .. n }
  end

  add_catalogue(shop, live)
  add_carts(shop, live)

  function shop.count(table_name, where)
    return live.sql.one("SELECT COUNT(*) AS n FROM " .. table_name
      .. (where and " WHERE " .. where or "")).n
  end

  --- Delivers what is in the outbox, as a jobs worker would.
  function shop.work()
    local claim, batch = live.require "till.flow.job_claim", live.require "till.flow.job_batch"
    for _ = 1, 10 do
      local taking = assert(claim.take())
      batch.deliver(taking)
      if #taking.events == 0 then return end
    end
  end

  return shop
end
