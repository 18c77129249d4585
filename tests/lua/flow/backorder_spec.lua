-- What is sold before it is there, and bundles.
local t = require "till.test"
local with_shop = require "tests.support.stock"


t.describe("a backorder", function()
  t.it("is a policy of the SKU and not more than its limit", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 2)
    t.equal((shop.pay(shop.cart { { tea, 3 } })), 409)
    local status, body = shop.policy("TEA", { policy = "backorder", limit = 3 })
    t.same({ status, body.backorders.policy, body.backorders.limit }, { 200, "backorder", 3 })
    t.equal((shop.pay(shop.cart { { tea, 4 } })), 201)
    t.same({ shop.inventory("TEA").on_hand, shop.inventory("TEA").reserved, shop.promised("TEA") },
      { 2, 2, 2 })
    status, body = shop.pay(shop.cart { { tea, 2 } })
    t.same({ status, body.code, body.detail }, { 409, "sold_out", "only 1 of TEA are left" })
    t.equal((shop.pay(shop.cart { { tea, 1 } })), 201)
    t.equal((shop.pay(shop.cart { { tea, 1 } })), 409)
  end))

  t.it("refuses what makes no sense", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 0)
    for _, case in ipairs {
      { { policy = "backorder" }, 422 }, { { policy = "later" }, 422 }, { {}, 422 },
      { { policy = "backorder", limit = -1 }, 422 },
      { { policy = "backorder", limit = 1, available_at = "2030-01-01T00:00:00Z" }, 422 },
      { { policy = "deny" }, 200 }, { { policy = "backorder", limit = 5 }, 200 },
    } do
      t.equal((shop.policy("TEA", case[1])), case[2], require("till.prim.json").encode(case[1]))
    end
    t.equal((shop.policy("NONE", { policy = "deny" })), 404)
    shop.pay(shop.cart { { tea, 4 } })
    t.equal((shop.policy("TEA", { policy = "backorder", limit = 3 })), 409)
    t.equal((shop.policy("TEA", { policy = "deny" })), 200)
    t.equal((shop.pay(shop.cart { { tea, 1 } })), 409)
    t.equal(shop.count("audit_entries", "action = 'backorders.set'"), 3)
    local changed = raw.sql.one("UPDATE backorders SET policy = 'backorder', unit_limit = 3")
    t.ok(not changed, "the table refuses as well")
  end))

  t.it("is told to shoppers, with the date of a preorder", with_shop(function(shop, raw)
    local _, product = shop.product("TEA", 1000, 0)
    local function seen()
      raw.require("till.cache").clear()
      local v = shop.must(raw.store("GET", "/store/v1/products/" .. product.id)).product.variants[1]
      return { v.available, v.availability, v.in_stock, v.more, v.available_at }
    end
    t.same(seen(), { 0, "sold_out", false })
    shop.policy("TEA", { policy = "backorder", limit = 3 })
    t.same(seen(), { 0, "backorder", false, 3 })
    shop.policy("TEA", { policy = "preorder", limit = 4, available_at = "2030-01-02T00:00:00Z" })
    t.same(seen(), { 0, "preorder", false, 4, "2030-01-02T00:00:00.000Z" })
    shop.stock("TEA", 1)
    t.same(seen(), { 1, "available", true, 4, "2030-01-02T00:00:00.000Z" })
  end))

  t.it("goes to those who wait in the order in which they came", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    shop.policy("TEA", { policy = "backorder", limit = 10 })
    local a = (select(2, shop.buy { { tea, 3 } })).order
    local b = (select(2, shop.buy { { tea, 2 } })).order
    t.same({ a.lines[1].backordered_quantity, b.lines[1].backordered_quantity }, { 2, 2 })
    t.same({ shop.inventory("TEA").on_hand, shop.promised("TEA") }, { 0, 4 })
    shop.stock("TEA", 3)
    a, b = shop.order(a.id), shop.order(b.id)
    t.same({ a.lines[1].backordered_quantity, b.lines[1].backordered_quantity }, { 0, 1 })
    t.same({ shop.inventory("TEA").on_hand, shop.promised("TEA") }, { 0, 1 })
    local told = {}
    for _, e in ipairs(shop.must(raw.admin("GET", "/admin/v1/orders/" .. a.id .. "/timeline"))
      .data) do
      if e.type == "allotted" then told[#told + 1] = e.data.quantity end
    end
    t.same(told, { 2 })
    t.equal((shop.pay(shop.cart { { tea, 1 } })), 201)
    t.equal(shop.promised("TEA"), 2, "who comes later waits as well")
    shop.stock("TEA", 5)
    t.same({ shop.order(b.id).lines[1].backordered_quantity, shop.promised("TEA") }, { 0, 1 })
    t.equal(shop.count("reservations", "state = 'backordered'"), 0)
    t.equal(shop.count("stock_events", "type = 'allotted' AND location_id IS NOT NULL"
      .. " AND on_hand_delta = -1"), 2)
    raw.clock.skip_ms = 16 * 60000
    t.equal(raw.require("till.store.reservations").expire(10, 0), 1)
    t.equal(shop.promised("TEA"), 0)
  end))

  t.it("is not sold a second time when the order is cancelled", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 1)
    shop.policy("TEA", { policy = "backorder", limit = 2 })
    local order = (select(2, shop.buy { { tea, 3 } })).order
    t.equal((shop.pay(shop.cart { { tea, 1 } })), 409)
    t.equal((shop.cancel(order.id)), 200)
    t.same({ shop.inventory("TEA").on_hand, shop.promised("TEA") }, { 1, 0 })
    shop.stock("TEA", 4)
    t.equal(shop.inventory("TEA").available, 4, "nobody waits any more")
  end))

  t.it("can be had, for the stream of a cart, before and while it is held", with_shop(
    function(shop, raw)
      local tea = shop.product("TEA", 1000, 0)
      shop.policy("TEA", { policy = "backorder", limit = 5 })
      local live, cart = raw.require "till.flow.live", shop.cart { { tea, 2 } }
      local key_id = raw.require("till.store.carts").get(cart).key_id
      local who = { kind = "publishable", key_id = key_id }
      local function seen()
        return live.open_cart(who, cart)[1].json:match '"availability":"([%a_]+)"'
      end
      t.equal(seen(), "in_stock")
      shop.must(shop.pay(cart))
      t.equal(seen(), "in_stock")
      t.equal(live.open_stock({ "TEA" })[1].json:match '"availability":"([%a_]+)"', "out_of_stock")
    end))

  t.it("gives way when its time is over and the limit is reached", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    shop.policy("TEA", { policy = "preorder", limit = 2, available_at = "2099-01-01T00:00:00Z" })
    shop.must(shop.pay(shop.cart { { tea, 2 } }))
    shop.must(shop.pay(shop.cart { { tea, 1 } }))
    local third = shop.cart { { tea, 3 } }
    t.equal((shop.pay(third)), 409)
    raw.clock.skip_ms = 3 * 3600000
    shop.must(shop.pay(third))
    t.same({ shop.inventory("TEA").reserved, shop.promised("TEA") }, { 1, 2 })
    shop.policy("TEA", { policy = "deny" })
    raw.clock.skip_ms = 6 * 3600000
    local _, body = shop.pay(shop.cart { { tea, 2 } })
    t.same({ body.code, body.detail }, { "sold_out", "only 1 of TEA are left" })
  end))

  t.it("is filled by the job from what came back", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 2)
    shop.policy("TEA", { policy = "backorder", limit = 5 })
    shop.pay(shop.cart { { tea, 2 } })
    local order = (select(2, shop.buy { { tea, 2 } })).order
    t.equal(order.lines[1].backordered_quantity, 2)
    local allotment = raw.require "till.store.allotment"
    t.equal(allotment.run(10), 0)
    raw.clock.skip_ms = 16 * 60000
    raw.require("till.store.reservations").expire(10, 0)
    t.equal(allotment.run(10), 1)
    t.equal(shop.order(order.id).lines[1].backordered_quantity, 0)
    t.same({ shop.inventory("TEA").on_hand, shop.promised("TEA") }, { 0, 0 })
  end))

  t.it("comes back in part, what is not there first", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 2)
    shop.policy("TEA", { policy = "backorder", limit = 5 })
    local order = (select(2, shop.buy { { tea, 4 } })).order
    local function back(n)
      return raw.sql.transaction(function(tx)
        return raw.require("till.store.allotment").take_back(tx, order.id, order.cart_id, "staff",
          { [tea] = n })
      end)
    end
    order.cart_id = order.cart_id or shop.order(order.id).cart_id
    t.ok(back(3))
    t.same({ shop.order(order.id).lines[1].backordered_quantity, shop.promised("TEA"),
      shop.inventory("TEA").on_hand }, { 0, 0, 1 })
    t.ok(back(3))
    t.equal(shop.inventory("TEA").on_hand, 2, "not more than was sold")
  end))
end)


t.describe("a bundle", function()
  local function set_of(shop, tea, cups)
    local pot, cup = shop.product("POT", 2000, tea), shop.product("CUP", 500, cups)
    local set, product = shop.product("SET", 3000, 0)
    t.equal((shop.parts(set, { { pot, 1 }, { cup, 4 } })), 200)
    return set, pot, cup, product
  end

  t.it("is there as often as its parts are", with_shop(function(shop, raw)
    local _, _, _, product = set_of(shop, 3, 9)
    local function seen()
      raw.require("till.cache").clear()
      local v = shop.must(raw.store("GET", "/store/v1/products/" .. product.id)).product.variants[1]
      return { v.available, v.availability, v.more }
    end
    t.same(seen(), { 2, "available" })
    shop.stock("CUP", 3)
    t.same(seen(), { 0, "sold_out" })
    shop.policy("CUP", { policy = "backorder", limit = 6 })
    t.same(seen(), { 0, "backorder", 2 })
  end))

  t.it("is reserved and sold by its parts, all or none", with_shop(function(shop)
    local set, pot = set_of(shop, 3, 9)
    local cart = shop.cart { { set, 2 }, { pot, 1 } }
    t.equal((shop.pay(cart)), 201)
    t.same({ shop.inventory("POT").reserved, shop.inventory("CUP").reserved }, { 3, 8 })
    local status, body = shop.pay(shop.cart { { set, 1 } })
    t.same({ status, body.code, body.detail }, { 409, "sold_out", "SET is sold out" })
    t.same({ shop.inventory("POT").reserved, shop.inventory("CUP").reserved }, { 3, 8 })
    status, body = shop.complete(cart)
    t.equal(status, 200)
    t.same({ body.type, #body.order.lines }, { "order", 2 })
    t.same({ shop.inventory("POT").on_hand, shop.inventory("CUP").on_hand }, { 0, 1 })
    t.equal((shop.cancel(body.order.id)), 200)
    t.same({ shop.inventory("POT").on_hand, shop.inventory("CUP").on_hand }, { 3, 9 })
  end))

  t.it("waits for its scarcest part", with_shop(function(shop)
    local set = set_of(shop, 5, 6)
    shop.policy("CUP", { policy = "backorder", limit = 20 })
    local order = (select(2, shop.buy { { set, 3 } })).order
    t.same({ order.lines[1].backordered_quantity, shop.promised("CUP") }, { 2, 6 })
    shop.stock("CUP", 2)
    t.equal(shop.order(order.id).lines[1].backordered_quantity, 1)
    shop.stock("CUP", 9)
    t.same({ shop.order(order.id).lines[1].backordered_quantity, shop.inventory("CUP").on_hand },
      { 0, 5 })
  end))

  t.it("of bundles is refused, and so is one with stock of its own", with_shop(function(shop)
    local set, pot, cup = set_of(shop, 3, 9)
    local big = shop.product("BIG", 9000, 0)
    local own = shop.product("OWN", 9000, 1)
    for _, case in ipairs {
      { big, { { set, 1 } }, 422 }, { pot, { { cup, 1 } }, 422 }, { big, { { big, 1 } }, 422 },
      { big, { { pot, 1 }, { pot, 2 } }, 422 }, { big, { { pot, 0 } }, 422 },
      { own, { { pot, 1 } }, 409 },
      { "var_01ARZ3NDEKTSV4RRFFQ69G5FAV", { { pot, 1 } }, 404 },
      { big, { { "var_01ARZ3NDEKTSV4RRFFQ69G5FAV", 1 } }, 422 },
    } do
      t.equal((shop.parts(case[1], case[2])), case[3])
    end
    local status, body = shop.live.admin("POST", "/admin/v1/inventory/SET/adjustments",
      { delta = 1, reason = "received" }, shop.key())
    t.same({ status, body.code }, { 409, "conflict" })
    t.equal((shop.policy("SET", { policy = "backorder", limit = 1 })), 409)
  end))

  t.it("that is changed is bought as it is then", with_shop(function(shop)
    local set, pot, cup = set_of(shop, 3, 9)
    local cart = shop.cart { { set, 1 } }
    shop.pay(cart)
    t.equal((shop.parts(set, { { pot, 1 }, { cup, 6 } })), 200)
    t.equal((select(2, shop.complete(cart))).type, "order")
    t.same({ shop.inventory("POT").on_hand, shop.inventory("CUP").on_hand }, { 2, 3 })
    t.equal((shop.parts(set, {})), 200)
    shop.stock("SET", 1)
    t.equal((select(2, shop.buy { { set, 1 } })).type, "order")
    t.equal(shop.inventory("CUP").on_hand, 3)
  end))
end)


t.describe("a cart of many", function()
  t.it("bundles of many parts is bought and comes back", with_shop(function(shop)
    local lines, parts = {}, {}
    for i = 1, 20 do parts[i] = { shop.product("P" .. i, 100, 1000), 1 + i % 3 } end
    for i = 1, 12 do
      local variant = shop.product("B" .. i, 5000, 0)
      t.equal((shop.parts(variant, parts)), 200)
      lines[i] = { variant, 2 }
    end
    local _, body = shop.buy(lines)
    t.equal(body.type, "order")
    t.equal(shop.count("reservations", "state = 'sold'"), 240)
    t.equal(shop.inventory("P1").on_hand, 1000 - 12 * 2 * 2)
    t.equal((shop.cancel(body.order.id)), 200)
    t.same({ shop.inventory("P1").on_hand, shop.inventory("P20").on_hand }, { 1000, 1000 })
  end))
end)
