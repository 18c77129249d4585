local t = require "till.test"
local with_shop = require "tests.support.stock"


t.describe("the usage limit of a promotion", function()
  t.it("says clearly that more was used already", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    local promotion = shop.promotion { name = "Ten", code = "TEN", usage_limit = 5,
      terms = { level = "order", type = "percent", value = "10" } }
    local path = "/admin/v1/promotions/" .. promotion.id
    for _ = 1, 2 do
      local cart = shop.cart { { tea, 1 } }
      shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/promotions", { code = "TEN" }))
      shop.must(shop.pay(cart))
      t.equal(select(2, shop.complete(cart)).type, "order")
    end
    local function limit(n)
      local _, _, headers = raw.admin("GET", path)
      return raw.admin("PATCH", path, { usage_limit = n }, { ["if-match"] = headers.etag })
    end
    local status, problem = limit(1)
    t.same({ status, problem.code }, { 409, "conflict" })
    t.ok(problem.detail:find("used 2 times already", 1, true), problem.detail)
    t.equal((limit(2)), 200)
    t.equal((limit(7)), 200)
  end))
end)

t.describe("the limit of each customer", function()
  t.it("is of the address, letter by letter, in whatever case it is", with_shop(
    function(shop, raw)
      local tea = shop.product("TEA", 1000, 9)
      shop.promotion { name = "Ten", code = "TEN", per_customer_limit = 1,
        terms = { level = "order", type = "percent", value = "10" } }
      local function buy(email)
        local cart = shop.cart { { tea, 1 } }
        local path = "/store/v1/carts/" .. cart
        shop.must(raw.store("PATCH", path, { email = email }))
        raw.store("POST", path .. "/promotions", { code = "TEN" })
        shop.must(shop.pay(cart))
        local _, body = shop.complete(cart)
        return body.order and body.order.discount_total.amount or body.error.code, body.order
      end
      t.equal(buy "rene@example.org", 100)
      local off, order = buy "Ren\195\169@example.org"
      t.equal(off, 100)
      for _, email in ipairs { "Rene@example.org", "ren\195\169@example.org",
        "REN\195\137@Example.org" } do
        t.equal(buy(email), 0, email)
      end
      t.equal((shop.cancel(order.id)), 200)
      t.equal(buy "RENE@example.org", 0)
      t.equal(buy "REN\195\137@example.org", 100)
      t.equal(buy "ren\195\169@example.org", 0)
      t.same({ shop.count "promotion_customers", shop.count "promotion_redemptions" }, { 2, 2 })
    end))
end)


t.describe("the budget of a promotion", function()
  t.it("is refused in what staff write, for the shop keeps no count of it", with_shop(
    function(shop, raw)
      local terms = { level = "order", type = "percent", value = "10", currency = "GBP" }
      local promotion = shop.promotion { name = "Ten", code = "TEN", terms = terms }
      terms.budget_remaining = 1000
      local path = "/admin/v1/promotions"
      local status, problem = raw.admin("POST", path, { name = "Nine", code = "NINE",
        terms = terms })
      t.same({ status, problem.errors and problem.errors[1].pointer },
        { 422, "/terms/budget_remaining" })
      local _, _, headers = raw.admin("GET", path .. "/" .. promotion.id)
      status = raw.admin("PATCH", path .. "/" .. promotion.id, { terms = terms },
        { ["if-match"] = headers.etag })
      t.equal(status, 422)
    end))
end)
