-- Completions that need nobody outside: one transaction, and what if somebody is in its way.
local t = require "till.test"
local co = require "till.prim.co"
local combine = require "till.prim.combine"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local waiting = require "tests.support.until"


local function with_shop(fn)
  return function()
    live.with(function(shop) fn(make_shop(shop), shop) end)
  end
end


-- Runs `fn` when the completion has read all that it needs, just before it writes.
local function before_writing(raw, fn)
  local place = raw.require "till.flow.place"
  local was = place.at_once
  place.at_once = function(...)
    place.at_once = was
    fn()
    return was(...)
  end
end


-- The flow instead of the short way is the sign that the short way was refused.
local function count_flows(raw)
  local flow = raw.require("till.flow.saga").named("checkout")
  local n, was = 0, flow.run
  flow.run = function(...)
    n = n + 1
    return was(...)
  end
  return function() return n end
end


local function all_counts(shop)
  return { orders = shop.count("orders"), lines = shop.count("order_lines"),
    ledger = shop.count("ledger_entries"), events = shop.count("order_events"),
    placed = shop.count("outbox", "type = 'order.placed'"),
    sold = shop.count("stock_events", "type = 'sold'"),
    redeemed = shop.count("promotion_redemptions") }
end


local NOTHING = { orders = 0, lines = 0, ledger = 0, events = 0, placed = 0, sold = 0,
  redeemed = 0 }


local function paid(shop, lines)
  local cart = shop.cart(lines or { { shop.product("TEA", 1000, 5), 2 } })
  t.equal((shop.pay(cart)), 201)
  return cart
end


t.describe("a completion that asks nobody outside", function()
  t.it("is one transaction without a flow", with_shop(function(shop, raw)
    local flows, cart = count_flows(raw), paid(shop)
    local key = shop.key()
    local _, body = shop.complete(cart, key)
    t.same({ body.type, flows() }, { "order", 0 })
    local counts = all_counts(shop)
    t.same({ counts.orders, counts.lines, counts.events, counts.placed, counts.sold },
      { 1, 1, 1, 1, 1 })
    local _, again, headers = shop.complete(cart, key)
    t.same(again, body)
    t.equal(headers["idempotent-replayed"], "true")
    local order = shop.must(raw.admin("GET", "/admin/v1/orders/" .. body.order.id)).order
    t.same({ order.number, order.payments[1].state }, { body.order.number, "authorized" })
    local event = raw.sql.one("SELECT data FROM order_events")
    t.ok(event.data:find(("%d"):format(body.order.number), 1, true), event.data)
  end))

  t.it("places a cart of many lines as well", with_shop(function(shop, raw)
    local lines = {}
    for i = 1, 25 do lines[i] = { shop.product("SKU-" .. i, 100, 5), 1 } end
    local flows, cart = count_flows(raw), paid(shop, lines)
    local _, body = shop.complete(cart)
    t.same({ body.type, flows(), #body.order.lines }, { "order", 0, 25 })
    t.same({ shop.inventory("SKU-25").on_hand, shop.inventory("SKU-25").reserved }, { 4, 0 })
  end))

  t.it("writes nothing of itself when its stock was let go of, and holds it anew",
    with_shop(function(shop, raw)
      local flows, cart = count_flows(raw), paid(shop)
      before_writing(raw, function()
        assert(raw.sql.transaction(function(tx)
          return raw.require("till.store.reservations").release(tx, cart)
        end))
        t.same(all_counts(shop), NOTHING)
      end)
      local _, body = shop.complete(cart)
      t.same({ body.type, flows() }, { "order", 1 })
      t.same({ shop.count("orders"), shop.inventory("TEA").on_hand,
        shop.inventory("TEA").reserved }, { 1, 3, 0 })
    end))

  t.it("takes back all of it when its promotion was used up meanwhile, and asks the shopper",
    with_shop(function(shop, raw)
      shop.promotion { code = "LAST", name = "Last one", status = "active",
        usage_limit = 1, terms = { level = "order", type = "percent", value = "10" } }
      local tea = shop.product("TEA", 1000, 5)
      local cart = shop.cart { { tea, 2 } }
      shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/promotions", { code = "LAST" }))
      shop.pay(cart)
      before_writing(raw, function()
        assert(raw.sql.exec("UPDATE promotions SET used = 1"))
      end)
      local _, body = shop.complete(cart)
      t.same({ body.type, body.error.code }, { "cart", "price_changed" })
      t.same(all_counts(shop), NOTHING)
      t.equal(shop.inventory("TEA").reserved, 2)
    end))

  t.it("believes the table where what the worker remembers of the cart is old",
    with_shop(function(shop, raw)
      local cart = paid(shop)
      assert(raw.sql.exec("UPDATE carts SET email = 'b@example.org', version = version + 1"))
      local status = shop.pay(cart)
      t.same({ status, shop.count("payments"), shop.inventory("TEA").reserved }, { 201, 2, 2 })
      assert(raw.sql.exec("UPDATE carts SET version = version + 1"))
      raw.sql.exec("DELETE FROM payments LIMIT 1")
      local _, body = shop.complete(cart)
      t.same({ body.type, body.order.email, shop.count("orders") },
        { "order", "b@example.org", 1 })
    end))

  t.it("takes the flow, and lets go of the other one, where two payments may become money",
    with_shop(function(shop, raw)
      local flows, cart = count_flows(raw), paid(shop)
      assert(raw.sql.exec("INSERT INTO payments (id, cart_id, provider, currency, amount, idem_key,"
        .. " data) SELECT UNHEX('01'), cart_id, 'manual', currency, 1, 'other', '{}'"
        .. " FROM payments"))
      local _, body = shop.complete(cart)
      t.same({ body.type, flows(), shop.count("payments", "state = 'voided' AND amount = 1"),
        shop.count("payments", "state = 'authorized'") }, { "order", 1, 1, 1 })
    end))

  t.it("knows a cart of another key as little as before", with_shop(function(shop, raw)
    local cart = paid(shop)
    assert(raw.sql.exec("UPDATE carts SET key_id = NULL, version = version + 1"))
    local status, body = shop.complete(cart)
    t.same({ status, body.code, shop.count("orders") }, { 404, "not_found", 0 })
  end))

  t.it("sells what the cart holds now when it was changed meanwhile", with_shop(function(shop, raw)
    local cart = paid(shop)
    before_writing(raw, function()
      shop.must(raw.store("PATCH", "/store/v1/carts/" .. cart, { email = "b@example.org" }))
    end)
    local _, body = shop.complete(cart)
    t.same({ body.type, body.order.email, shop.count("orders") }, { "order", "b@example.org", 1 })
  end))

  t.it("answers the order of the one that was first", with_shop(function(shop, raw)
    local cart = paid(shop)
    local first
    before_writing(raw, function() first = select(2, shop.complete(cart)) end)
    local status, body, headers = shop.complete(cart)
    t.same({ status, body.order.id, headers["idempotent-replayed"] }, { 200, first.order.id })
    t.equal(shop.count("orders"), 1)
  end))

  t.it("replays the answer of the one that was first under its key", with_shop(function(shop, raw)
    local cart, key = paid(shop), shop.key()
    local first
    before_writing(raw, function() first = select(2, shop.complete(cart, key)) end)
    local _, body, headers = shop.complete(cart, key)
    t.same(body, first)
    t.equal(headers["idempotent-replayed"], "true")
    t.equal(shop.count("orders"), 1)
  end))

  t.it("does not mind a guest who used its key for another cart", with_shop(function(shop, raw)
    local tea, key = shop.product("TEA", 1000, 5), shop.key()
    local a, b = paid(shop, { { tea, 1 } }), paid(shop, { { tea, 1 } })
    before_writing(raw, function() t.equal((shop.complete(b, key)), 200) end)
    local status, body = shop.complete(a, key)
    t.same({ status, body.type }, { 200, "order" })
    t.same({ shop.count("orders"), shop.inventory("TEA").reserved }, { 2, 0 })
  end))
end)


-- The answer to the transaction is lost, after or before it was done.
local function lose_answer(raw, is_done)
  local sql = raw.require "till.prim.sql"
  local was = sql.whole
  sql.whole = function(...)
    sql.whole = was
    if is_done then assert(was(...)) end
    local e = raw.require("till.util.err").new("conn_lost", "the answer was lost")
    e.unknown_outcome = true
    return nil, e
  end
end


t.describe("a completion whose answer from the database is lost", function()
  t.it("is replayed when it was done", with_shop(function(shop, raw)
    local cart = paid(shop)
    lose_answer(raw, true)
    local _, body = shop.complete(cart)
    t.same({ body.type, shop.count("orders"), shop.inventory("TEA").on_hand }, { "order", 1, 3 })
  end))

  t.it("is done when it was not", with_shop(function(shop, raw)
    local cart = paid(shop)
    lose_answer(raw, false)
    local _, body = shop.complete(cart)
    t.same({ body.type, shop.count("orders"), shop.inventory("TEA").on_hand }, { "order", 1, 3 })
  end))
end)


t.describe("a payment session", function()
  t.it("holds once what is asked for twice, and what changed in the cart",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 5)
      local cart = paid(shop, { { tea, 2 } })
      t.equal((shop.pay(cart)), 201)
      t.equal(shop.inventory("TEA").reserved, 2)
      shop.must(raw.store("POST", "/store/v1/carts/" .. cart .. "/lines",
        { variant_id = tea, quantity = 1 }))
      t.equal((shop.pay(cart)), 201)
      t.equal(shop.inventory("TEA").reserved, 3)
      local _, body = shop.complete(cart)
      t.equal(body.type, "order")
      t.same({ shop.inventory("TEA").on_hand, shop.inventory("TEA").reserved }, { 2, 0 })
    end))

  t.it("takes from another location what the first one does not have", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    raw.sql.exec("INSERT IGNORE INTO locations (id, code, name, priority)"
      .. " VALUES (UNHEX('019A000000000000000000000000A002'), 'far', 'Far', 200)")
    shop.must(raw.admin("POST", "/admin/v1/inventory/TEA/adjustments",
      { set_to = 5, location = "far", reason = "counted" }, shop.key()))
    local cart = paid(shop, { { tea, 2 } })
    local _, body = shop.complete(cart)
    t.same({ body.type, shop.inventory("TEA").on_hand }, { "order", 4 })
    raw.sql.exec("DELETE FROM stock WHERE location_id = UNHEX('019A000000000000000000000000A002')")
    raw.sql.exec("DELETE FROM locations WHERE code = 'far'")
  end))

  t.it("that is refused leaves nothing held and no payment", with_shop(function(shop)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 2 },
      { shop.product("CUP", 1000, 1), 2 } }
    local status, body = shop.pay(cart)
    t.same({ status, body.code }, { 409, "sold_out" })
    t.same({ shop.count("payments"), shop.count("reservations"),
      shop.inventory("TEA").reserved }, { 0, 0, 0 })
  end))
end)


t.describe("payment sessions of one cart at once", function()
  t.it("hold its units once, also where they wait together for a hot SKU", with_shop(
    function(shop, raw)
      local tea = shop.product("TEA", 1000, 10)
      local other, cart = shop.cart { { tea, 1 } }, shop.cart { { tea, 2 } }
      local done = {}
      local function pay(id)
        co.turn_end(function()
          local status = shop.pay(id)
          done[#done + 1] = status
        end)
      end
      assert(raw.sql.transaction(function(tx)
        assert(tx:one("SELECT reserved FROM stock FOR UPDATE"))
        pay(other)
        pay(cart)
        pay(cart)
        waiting.eventually("two wait behind the first", function()
          return combine.stats().waiting == 2
        end)
        return true
      end))
      waiting.eventually("all were told", function() return #done == 3 end)
      t.same(done, { 201, 201, 201 })
      t.same({ shop.inventory("TEA").reserved, shop.count("reservations", "state = 'held'") },
        { 3, 2 })
    end))
end)
