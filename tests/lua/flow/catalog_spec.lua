local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- Nobody hears Redis here: what a worker writes itself it must find at once all the same.
local function with_shop(fn)
  return live.test(function(raw) fn(make_shop(raw), raw) end)
end


local function cart_with(shop, raw, variant)
  local cart = shop.must(raw.store("POST", "/store/v1/carts", {})).cart
  local path = "/store/v1/carts/" .. cart.id
  return path, shop.must(raw.store("POST", path .. "/lines", { variant_id = variant,
    quantity = 1 })).cart
end


local function touch(shop, raw, path)
  return shop.must(raw.store("PATCH", path, { email = "ada@example.org" })).cart
end


t.describe("the kept catalogue", function()
  t.it("prices a cart with the new price as soon as it is written", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 5)
    local path, cart = cart_with(shop, raw, tea)
    t.equal(cart.total.amount, 1000)
    shop.must(raw.admin("PUT", "/admin/v1/variants/" .. tea .. "/prices",
      { prices = { { currency = "GBP", amount = 700 } } }))
    t.equal(touch(shop, raw, path).total.amount, 700)
  end))

  t.it("names the version of the row that a price is of", with_shop(function(shop, raw)
    local tea, product = shop.product("TEA", 1000, 5)
    local catalog = raw.require "till.flow.catalog"
    t.equal(catalog.variants({ tea })[tea].product_version, product.version)
    shop.must(raw.admin("PATCH", "/admin/v1/products/" .. product.id, { title = "Green" },
      { ["if-match"] = '"' .. product.version .. '"' }))
    local now = catalog.variants({ tea })[tea]
    t.same({ now.product_version, now.product_title }, { product.version + 1, "Green" })
  end))

  t.it("loads products with more variants than a statement takes parameters",
    with_shop(function(shop, raw)
      local ids = {}
      for p = 1, 11 do
        local variants = {}
        for v = 1, 200 do
          variants[v] = { sku = ("P%d-%d"):format(p, v),
            prices = { { currency = "GBP", amount = p * 1000 + v } } }
        end
        local _, product = shop.product("P" .. p .. "-1", 1, 1, { variants = variants })
        ids[p] = product.id
      end
      local found = assert(raw.require("till.flow.catalog").products(ids))
      for p = 1, 11 do
        local variants = found[ids[p]].variants
        t.equal(#variants, 200)
        for _, v in ipairs(variants) do
          local number = tonumber(v.sku:match("%-(%d+)$"))
          t.same({ #v.prices, v.prices[1].amount }, { 1, p * 1000 + number })
        end
      end
    end))

  t.it("does not sell what was archived", with_shop(function(shop, raw)
    local tea, product = shop.product("TEA", 1000, 5)
    local path = cart_with(shop, raw, tea)
    shop.must(raw.admin("DELETE", "/admin/v1/products/" .. product.id, nil,
      { ["if-match"] = '"' .. product.version .. '"' }))
    t.equal(raw.store("POST", path .. "/lines", { variant_id = tea, quantity = 1 }), 404)
  end))

  t.it("lists what was added, and no more what was archived", with_shop(function(shop, raw)
    local function titles()
      local out = {}
      for i, p in ipairs(shop.must(raw.store("GET", "/store/v1/products")).data) do
        out[i] = p.title
      end
      return out
    end
    local _, tea = shop.product("TEA", 1000, 5)
    t.same(titles(), { "Product TEA" })
    shop.product("POT", 1000, 5)
    t.same(titles(), { "Product POT", "Product TEA" })
    shop.must(raw.admin("DELETE", "/admin/v1/products/" .. tea.id, nil,
      { ["if-match"] = '"' .. tea.version .. '"' }))
    t.same(titles(), { "Product POT" })
  end))

  t.it("searches for what was renamed as soon as that is indexed", with_shop(function(shop, raw)
    local function count(word)
      return #shop.must(raw.store("GET", "/store/v1/search?q=" .. word)).data
    end
    local _, tea = shop.product("TEA", 1000, 5)
    shop.work()
    t.same({ count "product", count "lantern" }, { 1, 0 })
    shop.must(raw.admin("PATCH", "/admin/v1/products/" .. tea.id, { title = "Lantern" },
      { ["if-match"] = '"' .. tea.version .. '"' }))
    shop.work()
    t.same({ count "product", count "lantern" }, { 0, 1 })
  end))

  t.it("shows the units that a payment session has taken", with_shop(function(shop, raw)
    local tea, product = shop.product("TEA", 1000, 5)
    local function shown()
      return shop.must(raw.store("GET", "/store/v1/products/" .. product.id))
        .product.variants[1].available
    end
    t.equal(shown(), 5)
    local cart = shop.cart { { tea, 2 } }
    shop.must(shop.pay(cart))
    t.equal(shown(), 3)
    shop.stock("TEA", 9)
    t.equal(shown(), 7)
  end))

  t.it("sells by the table's stock, whatever is shown", with_shop(function(shop, raw)
    local tea, product = shop.product("TEA", 1000, 5)
    shop.must(raw.store("GET", "/store/v1/products/" .. product.id))
    raw.sql.exec("UPDATE stock SET on_hand = 1")
    local status, body = shop.pay(shop.cart { { tea, 2 } })
    t.same({ status, body.code }, { 409, "sold_out" })
  end))
end)


t.describe("promotions for everybody", function()
  local TENTH = { level = "line", type = "percent", value = "10" }

  t.it("count from the next change of a cart on, and no more when they are paused",
    with_shop(function(shop, raw)
      local path, cart = cart_with(shop, raw, (shop.product("TEA", 1000, 5)))
      t.equal(cart.total.amount, 1000)
      local made = shop.promotion { name = "Sale", terms = TENTH }
      t.equal(touch(shop, raw, path).total.amount, 900)
      shop.must(raw.admin("PATCH", "/admin/v1/promotions/" .. made.id, { status = "paused" },
        { ["if-match"] = '"' .. made.version .. '"' }))
      t.equal(touch(shop, raw, path).total.amount, 1000)
    end))

  t.it("are counted anew each time where they have a limit", with_shop(function(shop, raw)
    local path = cart_with(shop, raw, (shop.product("TEA", 1000, 5)))
    shop.promotion { name = "First", terms = TENTH, usage_limit = 1 }
    t.equal(touch(shop, raw, path).total.amount, 900)
    raw.sql.exec("UPDATE promotions SET used = 1")
    t.equal(touch(shop, raw, path).total.amount, 1000)
  end))
end)
