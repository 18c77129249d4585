local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_shop(fn)
  return function()
    live.with(function(shop) fn(make_shop(shop), shop) end)
  end
end


local function new_cart(shop, raw, body)
  return shop.must(raw.store("POST", "/store/v1/carts", body or {})).cart
end


t.describe("a cart", function()
  t.it("adds the same thing to its line", with_shop(function(shop, raw)
    local tea, cart = shop.product("TEA", 1000, 5), new_cart(shop, raw)
    local path = "/store/v1/carts/" .. cart.id .. "/lines"
    raw.store("POST", path, { variant_id = tea, quantity = 2 })
    local body = shop.must(raw.store("POST", path, { variant_id = tea, quantity = 3 }))
    t.same({ #body.cart.lines, body.cart.lines[1].quantity }, { 1, 5 })
    t.equal(body.cart.subtotal.amount, 5000)
    body = shop.must(raw.store("PATCH", path .. "/" .. body.cart.lines[1].id, { quantity = 1 }))
    t.equal(body.cart.total.amount, 1000)
    body = shop.must(raw.store("DELETE", path .. "/" .. body.cart.lines[1].id))
    t.same({ #body.cart.lines, body.cart.total.amount }, { 0, 0 })
  end))

  t.it("is not there for another key", with_shop(function(shop, raw)
    local cart = new_cart(shop, raw)
    local status, body = raw.admin("GET", "/store/v1/carts/" .. cart.id)
    t.same({ status, body.code }, { 404, "not_found" })
  end))

  t.it("keeps what another device wrote while a transaction has to run again",
    with_shop(function(shop, raw)
      local tea, cup, cart = shop.product("TEA", 1000, 5), shop.product("CUP", 900, 5), new_cart(
        shop, raw)
      local carts, flow = raw.require "till.store.carts", raw.require "till.flow.cart"
      local idem, err = raw.require "till.prim.idem", raw.require "till.util.err"
      local save, finish, saves = carts.save, idem.finish, 0
      function idem.finish()
        idem.finish = finish
        return nil, err.new("deadlock", "it was refused by the other nodes", { retryable = true })
      end
      function carts.save(tx, seen)
        saves = saves + 1
        if saves == 2 then
          local now = carts.get(cart.id)
          flow.add(cup, 1)(now)
          flow.reprice(now)
          t.ok(save(nil, now))
        end
        return save(tx, seen)
      end
      local body = shop.must(raw.store("POST", "/store/v1/carts/" .. cart.id .. "/lines",
        { variant_id = tea, quantity = 1 }, shop.key()))
      carts.save = save
      t.same({ #body.cart.lines, saves }, { 2, 3 })
    end))

  t.it("keeps what another worker wrote meanwhile", with_shop(function(shop, raw)
    local tea, cart = shop.product("TEA", 1000, 5), new_cart(shop, raw)
    local path = "/store/v1/carts/" .. cart.id
    raw.sql.exec("UPDATE carts SET email = 'bob@example.org', version = version + 1")
    local changed = shop.must(raw.store("POST", path .. "/lines", { variant_id = tea,
      quantity = 2 })).cart
    t.same({ changed.email, changed.version, #changed.lines }, { "bob@example.org", 3, 1 })
    raw.sql.exec("UPDATE carts SET email = 'eve@example.org', version = version + 1")
    changed = shop.must(raw.store("PATCH", path, { country = nil, shipping_option_id = nil,
      email = "ada@example.org" }, { ["if-match"] = '"4"' })).cart
    t.same({ changed.email, changed.version }, { "ada@example.org", 5 })
    t.same(shop.must(raw.store("GET", path)).cart, changed)
  end))

  t.it("is after a refused change what it was before", with_shop(function(shop, raw)
    local tea, cart = shop.product("TEA", 1000, 5), new_cart(shop, raw)
    local path = "/store/v1/carts/" .. cart.id
    local line = { variant_id = tea, quantity = 2 }
    shop.must(raw.store("POST", path .. "/lines", line))
    line.quantity = 1000000
    t.equal(raw.store("POST", path .. "/lines", line), 422)
    t.equal(raw.store("PATCH", path, { email = "ada@example.org" }, { ["if-match"] = '"1"' }), 412)
    local after = shop.must(raw.store("PATCH", path, { email = "bob@example.org" })).cart
    t.same({ after.lines[1].quantity, after.email }, { 2, "bob@example.org" })
    t.same(shop.must(raw.store("GET", path)).cart, after)
  end))

  t.it("is not there for another key, also where this worker remembers it",
    with_shop(function(shop, raw)
      local cart = new_cart(shop, raw)
      local path = "/store/v1/carts/" .. cart.id
      t.equal(raw.admin("PATCH", path, { email = "eve@example.org" }), 404)
      t.equal(shop.must(raw.store("PATCH", path, { email = "ada@example.org" })).cart.version, 2)
    end))

  t.it("takes one statement to change", with_shop(function(shop, raw)
    local tea, cart = shop.product("TEA", 1000, 5), new_cart(shop, raw)
    local path = "/store/v1/carts/" .. cart.id
    raw.store("POST", path .. "/lines", { variant_id = tea, quantity = 1 })
    local function asked()
      return tonumber(raw.sql.one("SHOW SESSION STATUS LIKE 'Questions'").Value)
    end
    local before = asked()
    shop.must(raw.store("PATCH", path, { email = "ada@example.org" }))
    t.equal(asked() - before, 2, "its own and the question how many")
  end))

  t.it("refuses a stale change, and says what it does not know", with_shop(function(shop, raw)
    local cart = new_cart(shop, raw)
    local path = "/store/v1/carts/" .. cart.id
    shop.must(raw.store("PATCH", path, { email = "a@example.org" }, { ["if-match"] = '"1"' }))
    local status, body = raw.store("PATCH", path, { email = "b@example.org" },
      { ["if-match"] = '"1"' })
    t.same({ status, body.code }, { 412, "precondition_failed" })
    for code, given in pairs { unknown_currency = { currency = "XXQ" },
      unknown_country = { country = "XX" } } do
      status, body = raw.store("POST", "/store/v1/carts", given)
      t.same({ status, body.code }, { 422, code })
    end
  end))

  t.it("has no place for what has no price or is not sold", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 5)
    local draft = shop.product("INK", 1000, 5, { status = "draft" })
    local cart = new_cart(shop, raw, { currency = "EUR" })
    local path = "/store/v1/carts/" .. cart.id .. "/lines"
    local status, body = raw.store("POST", path, { variant_id = tea, quantity = 1 })
    t.same({ status, body.code }, { 422, "no_price" })
    status, body = raw.store("POST", path, { variant_id = draft, quantity = 1 })
    t.same({ status, body.code }, { 404, "not_found" })
    status, body = raw.store("POST", path, { variant_id = tea, quantity = 10001 })
    t.same({ status, body.code }, { 422, "invalid_quantity" })
  end))

  t.it("is priced by tier, sale and group of nobody else", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 50, { variants = { { sku = "TEA", prices = {
      { currency = "GBP", amount = 1000 }, { currency = "GBP", amount = 800, min_qty = 10 },
      { currency = "GBP", amount = 1, customer_group = "friends" } } } } })
    local cart = new_cart(shop, raw)
    local path = "/store/v1/carts/" .. cart.id .. "/lines"
    local body = shop.must(raw.store("POST", path, { variant_id = tea, quantity = 9 }))
    t.equal(body.cart.subtotal.amount, 9000)
    body = shop.must(raw.store("POST", path, { variant_id = tea, quantity = 1 }))
    t.equal(body.cart.subtotal.amount, 8000)
  end))
end)


t.describe("promotions", function()
  local TEN = { level = "order", type = "percent", value = "10" }

  t.it("take a code in any writing, and only one that there is", with_shop(function(shop, raw)
    shop.promotion { name = "Ten off", code = "welcome10", terms = TEN }
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    local path = "/store/v1/carts/" .. cart .. "/promotions"
    local body = shop.must(raw.store("POST", path, { code = " Welcome10 " }))
    t.same({ body.cart.discount_total.amount, body.cart.promotions[1].code }, { 100, "WELCOME10" })
    local status, problem = raw.store("POST", path, { code = "NONE" })
    t.same({ status, problem.code }, { 422, "promotion_unknown" })
    body = shop.must(raw.store("DELETE", path .. "/WELCOME10"))
    t.equal(body.cart.discount_total.amount, 0)
  end))

  t.it("are refused with their reason", with_shop(function(shop, raw)
    shop.promotion { name = "Big", code = "BIG", terms = { level = "order", type = "amount",
      value = 500, currency = "GBP", conditions = { min_subtotal = 5000 } } }
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    local status, body = raw.store("POST", "/store/v1/carts/" .. cart .. "/promotions",
      { code = "BIG" })
    t.same({ status, body.code }, { 422, "promotion_refused" })
    t.ok(body.detail:find("minimum spend", 1, true))
  end))

  t.it("end with their limit, also for two who hold the last one", with_shop(function(shop, raw)
    local promotion = shop.promotion { name = "Once", code = "ONCE", terms = TEN, usage_limit = 1 }
    local tea = shop.product("TEA", 1000, 5)
    local a, b = shop.cart { { tea, 1 } }, shop.cart { { tea, 1 } }
    for _, cart in ipairs { a, b } do
      shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/promotions", { code = "ONCE" }))
      shop.pay(cart, "test", "tok_ok")
    end
    t.equal((select(2, shop.complete(a))).type, "order")
    local _, body = shop.complete(b)
    t.same({ body.type, body.error.code }, { "cart", "price_changed" })
    t.equal(shop.must(raw.admin("GET", "/admin/v1/promotions/" .. promotion.id)).promotion.used, 1)
  end))

  t.it("need a currency where they name an amount, and sound terms", with_shop(function(_, raw)
    local status, body = raw.admin("POST", "/admin/v1/promotions", { name = "X",
      terms = { level = "order", type = "amount", value = 500 } })
    t.same({ status, body.errors[1].pointer }, { 422, "/terms/currency" })
    status, body = raw.admin("POST", "/admin/v1/promotions", { name = "X",
      terms = { level = "order", type = "percent", value = "101" } })
    t.same({ status, body.code }, { 422, "invalid_request" })
  end))
end)
