-- What a cart holds follows what is in it.
local t = require "till.test"
local with_shop = require "tests.support.stock"


local function path_of(cart, more) return "/store/v1/carts/" .. cart .. (more or "") end


local function line_of(shop, raw, cart, variant)
  for _, line in ipairs(shop.must(raw.store("GET", path_of(cart))).cart.lines) do
    if line.variant_id == variant then return path_of(cart, "/lines/" .. line.id) end
  end
end


local function set(shop, raw, cart, variant, quantity)
  shop.must(raw.store("PATCH", line_of(shop, raw, cart, variant), { quantity = quantity }))
end


local function reserved(shop, ...)
  local out = {}
  for i, sku in ipairs { ... } do out[i] = shop.inventory(sku).reserved end
  return out
end


t.describe("a cart that holds goods", function()
  t.it("holds no longer what is taken out of it", with_shop(function(shop, raw)
    local tea, cup = shop.product("TEA", 1000, 5), shop.product("CUP", 1000, 5)
    local cart = shop.cart { { tea, 5 }, { cup, 2 } }
    t.equal((shop.pay(cart)), 201)
    shop.must(raw.store("DELETE", line_of(shop, raw, cart, tea)))
    t.same(reserved(shop, "TEA", "CUP"), { 0, 2 })
    t.equal((shop.pay(shop.cart { { tea, 5 } })), 201)
    t.equal(shop.count("stock_events", "type = 'released' AND quantity = 5"), 1)
  end))

  t.it("has a bundle in stock whose parts it holds", with_shop(function(shop, raw)
    local tea, box = shop.product("TEA", 1000, 2), shop.product("BOX", 3000, 0)
    shop.must(shop.parts(box, { { tea, 2 } }))
    local cart_id = shop.cart { { box, 1 } }
    shop.pay(cart_id)
    local cart = raw.require("till.store.carts").get(cart_id)
    local states = raw.require("till.flow.live").open_cart({ kind = "publishable",
      key_id = cart.key_id }, cart_id)
    t.ok(states[1].json:find('"availability":"in_stock"', 1, true), states[1].json)
  end))

  t.it("is not sold by what it held before it was changed, twice, on another device",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 10)
      local cart, others = shop.cart { { tea, 5 } }, { shop.cart { { tea, 5 } },
        shop.cart { { tea, 2 } } }
      shop.pay(cart)
      raw.require("till.flow.cart").forget(cart) -- another worker has it in mind
      local checkouts = raw.require "till.store.checkouts"
      local whole = checkouts.whole
      function checkouts.whole(...)
        checkouts.whole = whole
        local state = whole(...)
        set(shop, raw, cart, tea, 3)
        for _, other in ipairs(others) do t.equal((shop.pay(other)), 201) end
        set(shop, raw, cart, tea, 5)
        return state
      end
      local _, answer = shop.complete(cart)
      t.equal((answer.error or answer).code, "sold_out")
      for _, other in ipairs(others) do
        t.equal((select(2, shop.complete(other))).type, "order")
      end
      t.equal(shop.inventory("TEA").on_hand, 3)
    end))

  t.it("gives back as many units as it has less, and is sold", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 5)
    local cart = shop.cart { { tea, 5 } }
    shop.pay(cart)
    set(shop, raw, cart, tea, 2)
    t.same(reserved(shop, "TEA"), { 2 })
    set(shop, raw, cart, tea, 3)
    t.same(reserved(shop, "TEA"), { 2 }, "more is held by the next session")
    shop.pay(cart)
    t.equal((select(2, shop.complete(cart))).type, "order")
    t.same({ shop.inventory("TEA").on_hand, reserved(shop, "TEA")[1] }, { 2, 0 })
  end))

  t.it("gives back what is promised before what is there", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 3)
    shop.policy("TEA", { policy = "backorder", limit = 10 })
    local cart = shop.cart { { tea, 5 } }
    shop.pay(cart)
    set(shop, raw, cart, tea, 4)
    t.same({ reserved(shop, "TEA")[1], shop.promised("TEA") }, { 3, 1 })
    set(shop, raw, cart, tea, 1)
    t.same({ reserved(shop, "TEA")[1], shop.promised("TEA") }, { 1, 0 })
  end))

  t.it("gives back parts of a bundle, not those that are bought by themselves", with_shop(
    function(shop, raw)
      local tea, box = shop.product("TEA", 1000, 9), shop.product("BOX", 3000, 0)
      shop.must(shop.parts(box, { { tea, 2 } }))
      local cart = shop.cart { { box, 3 }, { tea, 1 } }
      t.equal((shop.pay(cart)), 201)
      set(shop, raw, cart, box, 1)
      t.same(reserved(shop, "TEA"), { 3 })
      shop.must(raw.store("DELETE", line_of(shop, raw, cart, box)))
      t.same(reserved(shop, "TEA"), { 1 })
    end))

  -- Two BOX of 2 TEA are held; staff make it 1 TEA, or 4; `change` is what the shopper does then.
  local function with_other_parts(n, change)
    return with_shop(function(shop, raw)
      local tea, box = shop.product("TEA", 1000, 10), shop.product("BOX", 3000, 0)
      shop.must(shop.parts(box, { { tea, 2 } }))
      local cart = shop.cart { { box, 2 } }
      shop.must(shop.pay(cart))
      shop.must(shop.parts(box, { { tea, n } }))
      raw.require("till.cache").clear()
      local bought = change(shop, raw, cart, box)
      shop.must(shop.pay(cart))
      local order = shop.must(shop.complete(cart)).order
      t.equal(shop.inventory("TEA").on_hand, 10 - bought * n)
      local path, line = "/admin/v1/orders/" .. order.id, order.lines[1].id
      shop.must(raw.admin("POST", path .. "/cancel", { lines = { { line_id = line,
        quantity = 1 } } }, shop.key()))
      t.equal(shop.inventory("TEA").on_hand, 10 - (bought - 1) * n)
      if bought == 1 then return end
      shop.must(raw.admin("POST", path .. "/fulfilments", {}, shop.key()))
      shop.must(raw.admin("POST", path .. "/returns", { lines = { { line_id = line,
        quantity = bought - 1 } } }, shop.key()))
      t.equal(shop.inventory("TEA").on_hand, 10)
    end)
  end

  local function edit(shop, raw, cart)
    shop.must(raw.store("PATCH", path_of(cart), { email = "bob@example.org" }))
    return 2
  end

  local function buy(quantity)
    return function(shop, raw, cart, box)
      set(shop, raw, cart, box, quantity)
      return quantity
    end
  end

  for what, case in pairs { ["fewer, edited"] = { 1, edit }, ["fewer, more of it"] = { 1, buy(4) },
    ["as many units of others"] = { 4, buy(1) }, ["more, edited"] = { 4, edit } } do
    t.it("gives back what was sold of a bundle that has other parts: " .. what,
      with_other_parts(case[1], case[2]))
  end

  t.it("of more parts than a statement takes is changed, and holds them for longer", with_shop(
    function(shop, raw)
      local parts, lines = {}, {}
      for i = 1, 20 do parts[i] = { (shop.product("P" .. i, 100, 200)), 1 } end
      for i = 1, 100 do
        local box = shop.product("BOX" .. i, 2500, 0)
        shop.must(shop.parts(box, parts))
        lines[i] = { variant_id = box, quantity = 1 }
      end
      raw.require("till.cache").clear()
      local cart = shop.cart { { lines[1].variant_id, 1 } }
      for i = 2, #lines do shop.must(raw.store("POST", path_of(cart, "/lines"), lines[i])) end
      shop.must(shop.pay(cart))
      raw.clock.skip_ms = 10 * 60000
      t.equal((raw.store("PATCH", path_of(cart), { email = "bob@example.org" })), 200)
      raw.clock.skip_ms = 20 * 60000
      raw.require("till.store.reservations").expire(100, 1000)
      t.same(reserved(shop, "P1", "P20"), { 100, 100 })
    end))

  t.it("holds for longer only what is in it", with_shop(function(shop, raw)
    local tea, cup = shop.product("TEA", 1000, 5), shop.product("CUP", 1000, 5)
    local cart = shop.cart { { tea, 5 }, { cup, 1 } }
    shop.pay(cart)
    local reservations = raw.require "till.store.reservations"
    local trim, err = reservations.trim, raw.require "till.util.err"
    reservations.trim = function() return nil, err.new("internal", "spec") end
    shop.must(raw.store("DELETE", line_of(shop, raw, cart, tea)))
    reservations.trim = trim
    t.same(reserved(shop, "TEA", "CUP"), { 5, 1 }, "as where its worker dies")
    for minutes = 10, 20, 10 do
      raw.clock.skip_ms = minutes * 60000
      shop.must(raw.store("PATCH", path_of(cart), { email = "b" .. minutes .. "@example.org" }))
    end
    reservations.expire(100, 100)
    t.same(reserved(shop, "TEA", "CUP"), { 0, 1 })
  end))

  t.it("holds nothing once its last payment session is deleted", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 5)
    local cart, sessions = shop.cart { { tea, 5 } }, {}
    local path = path_of(cart, "/payment-sessions")
    for i = 1, 2 do
      sessions[i] = shop.must(raw.store("POST", path, { provider = "test",
        data = { token = "tok_ok" }, amount = { amount = 1000, currency = "GBP" } }))
        .payment_session.id
    end
    shop.must(raw.store("DELETE", path .. "/" .. sessions[1]))
    t.same(reserved(shop, "TEA"), { 5 })
    shop.must(raw.store("DELETE", path .. "/" .. sessions[2]))
    t.same(reserved(shop, "TEA"), { 0 })
    shop.pay(cart)
    t.equal((select(2, shop.complete(cart))).type, "order")
  end))
end)
