-- Carts with lines that have lost their price.
local t = require "till.test"
local with_shop = require "tests.support.stock"

local ADA = { email = "ada@example.org", password = "correct horse battery" }


local function path_of(cart, more) return "/store/v1/carts/" .. cart .. (more or "") end


local function unprice(shop, raw, ...)
  for _, variant in ipairs { ... } do
    shop.must(raw.admin("PUT", "/admin/v1/variants/" .. variant .. "/prices",
      { prices = { { currency = "EUR", amount = 1200 } } }))
  end
  raw.require("till.cache").clear()
end


local function skus(cart)
  local out = {}
  for i, line in ipairs(cart.lines) do out[i] = line.sku end
  return out
end


t.describe("a cart with lines that have no price any more", function()
  local function with_cart(fn)
    return with_shop(function(shop, raw)
      local tea, cup, jam = shop.product("TEA", 1000, 5), shop.product("CUP", 500, 5),
        shop.product("JAM", 500, 5)
      local cart = shop.cart { { tea, 1 }, { cup, 1 }, { jam, 2 } }
      shop.must(shop.pay(cart))
      unprice(shop, raw, tea, cup)
      fn(shop, raw, cart, shop.must(raw.store("GET", path_of(cart))).cart)
    end)
  end

  for at, sku in ipairs { "TEA", "JAM" } do
    t.it("loses them with what is taken out of it: " .. sku, with_cart(
      function(shop, raw, cart, seen)
        local line = path_of(cart, "/lines/" .. seen.lines[at == 1 and 1 or 3].id)
        local body = shop.must(raw.store("DELETE", line))
        t.same(skus(body.cart), at == 1 and { "JAM" } or {})
        t.same({ shop.inventory("TEA").reserved, shop.inventory("CUP").reserved }, { 0, 0 })
        if at == 1 then
          shop.must(shop.pay(cart))
          t.equal(shop.must(shop.complete(cart)).type, "order")
        end
      end))
  end

  t.it("is not changed otherwise", with_cart(function(shop, raw, cart, seen)
    local status, body = raw.store("PATCH", path_of(cart, "/lines/" .. seen.lines[3].id),
      { quantity = 1 })
    t.same({ status, body.code }, { 422, "no_price" })
    t.equal(#shop.must(raw.store("GET", path_of(cart))).cart.lines, 3)
  end))
end)


t.describe("carts that are made one where a line has no price any more", function()
  local function with_ada(fn)
    return with_shop(function(shop, raw)
      shop.must(raw.store("POST", "/auth/v1/customers", ADA))
      local function login(cart)
        return shop.must(raw.store("POST", "/auth/v1/customers/sessions", { email = ADA.email,
          password = ADA.password, cart_id = cart }))
      end
      local function begin(variant)
        local _, _, headers = raw.store("POST", "/auth/v1/customers/sessions", ADA)
        local cookie = headers["set-cookie"]
        if type(cookie) == "table" then cookie = cookie[1] end
        local as_ada = { cookie = cookie:match "^[^;]+", origin = "https://shop.test" }
        local cart = shop.must(raw.store("POST", "/store/v1/carts", {}, as_ada)).cart.id
        shop.must(raw.store("POST", path_of(cart, "/lines"), { variant_id = variant,
          quantity = 2 }, as_ada))
        return cart
      end
      fn(shop, raw, login, begin)
    end)
  end

  t.it("lose it where the customer's had it", with_ada(function(shop, raw, login, begin)
    local tea, cup = shop.product("TEA", 1000, 5), shop.product("CUP", 500, 5)
    local old, guest = begin(tea), shop.cart { { cup, 1 } }
    unprice(shop, raw, tea)
    local body = login(guest)
    t.same({ body.cart_error, body.cart.id, skus(body.cart) }, { nil, old, { "CUP" } })
    t.same(body.left_out, { { variant_id = tea, quantity = 2, reason = "not_sold" } })
  end))

  t.it("lose it where the guest's had it", with_ada(function(shop, raw, login, begin)
    local tea, cup, jam = shop.product("TEA", 1000, 5), shop.product("CUP", 500, 5),
      shop.product("JAM", 500, 5)
    local old, guest = begin(jam), shop.cart { { tea, 3 }, { cup, 1 } }
    unprice(shop, raw, tea)
    local body = login(guest)
    t.same({ body.cart.id, skus(body.cart) }, { old, { "JAM", "CUP" } })
    t.same(body.left_out, { { variant_id = tea, quantity = 3, reason = "not_sold" } })
  end))

  t.it("lose it where the guest's becomes the customer's", with_ada(function(shop, raw, login)
    local tea, cup = shop.product("TEA", 1000, 5), shop.product("CUP", 500, 5)
    local guest = shop.cart { { tea, 3 }, { cup, 1 } }
    unprice(shop, raw, tea)
    local body = login(guest)
    t.same({ body.cart.id, skus(body.cart) }, { guest, { "CUP" } })
    t.same(body.left_out, { { variant_id = tea, quantity = 3, reason = "not_sold" } })
  end))
end)
