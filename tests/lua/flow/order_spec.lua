local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_order(provider, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 3 } }
      shop.pay(cart, provider, provider == "test" and "tok_ok" or nil)
      local _, body = shop.complete(cart)
      fn(shop, raw, body.order)
    end)
  end
end


t.describe("an order", function()
  t.it("is counted for the search once it is told of", with_order("manual", function(shop, raw)
    local popularity = "SELECT MAX(popularity) AS most FROM search_documents"
    raw.require("till.flow.search").index_missing()
    t.equal(raw.sql.one(popularity).most, 0)
    shop.work()
    t.equal(raw.sql.one(popularity).most, 1)
  end))

  t.it("is read as it was answered, by its key alone", live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5, { title = [["Grün" \ '☕']] }), 3 },
      { shop.product("POT", 2500, 5), 1 } }
    shop.pay(cart)
    local _, body = shop.complete(cart)
    local path = "/store/v1/orders/" .. body.order.id
    local read = shop.must(raw.store("GET", path)).order
    t.ok(read.updated_at)
    t.same(read, body.order)
    t.same({ body.order.lines[1].title, #body.order.lines }, { [["Grün" \ '☕']], 2 })
    t.equal(raw.admin("GET", path), 404)
  end))

  t.it("is sent in parts, never more than was sold", with_order("manual", function(shop, raw, order)
    local path = "/admin/v1/orders/" .. order.id .. "/fulfilments"
    local line = order.lines[1].id
    local body = shop.must(raw.admin("POST", path, { tracking_number = "T1",
      lines = { { line_id = line, quantity = 2 } } }, shop.key()))
    t.equal(body.order.fulfilment_status, "partial")
    local status, problem = raw.admin("POST", path,
      { lines = { { line_id = line, quantity = 2 } } }, shop.key())
    t.same({ status, problem.code }, { 409, "conflict" })
    body = shop.must(raw.admin("POST", path, {}, shop.key()))
    t.same({ body.order.fulfilment_status, #body.order.fulfilments }, { "fulfilled", 2 })
    status = raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", {}, shop.key())
    t.equal(status, 409)
    t.equal(shop.count("outbox", "type = 'order.fulfilled'"), 2)
  end))

  t.it("is cancelled with its stock, its money and its books", with_order("test",
    function(shop, raw, order)
      shop.work()
      t.equal(shop.inventory("TEA").on_hand, 2)
      local body = shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", {},
        shop.key()))
      t.same({ body.order.status, body.order.payment_status }, { "cancelled", "refunded" })
      t.equal(shop.inventory("TEA").on_hand, 5)
      for _, row in ipairs(raw.sql.query("SELECT account, CAST(SUM(amount) AS SIGNED) AS n"
        .. " FROM ledger_entries GROUP BY account")) do t.equal(row.n, 0, row.account) end
      local states = raw.sql.one("SELECT state FROM payment_test_attempts")
      t.equal(states.state, "refunded")
    end))

  t.it("is paid when staff have seen the money", with_order("manual", function(shop, raw, order)
    local payment = shop.must(raw.admin("GET", "/admin/v1/payments?order_id=" .. order.id)).data[1]
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. payment.id .. "/capture", {}, shop.key()))
    local body = shop.must(raw.admin("GET", "/admin/v1/orders/" .. order.id))
    t.equal(body.order.payment_status, "captured")
    local types = {}
    for i, e in ipairs(shop.must(raw.admin("GET",
      "/admin/v1/orders/" .. order.id .. "/timeline")).data) do types[i] = e.type end
    t.same(types, { "placed", "captured" })
  end))

  t.it("is found by its filters and nobody else's key", with_order("manual",
    function(shop, raw, order)
      local list = shop.must(raw.admin("GET", "/admin/v1/orders?email=ADA@example.org&number="
        .. order.number)).data
      t.same({ #list, list[1].id }, { 1, order.id })
      t.equal(#shop.must(raw.admin("GET", "/admin/v1/orders?status=cancelled")).data, 0)
      t.equal((raw.store("GET", "/store/v1/orders/" .. order.id)), 200)
      t.equal((raw.admin("GET", "/store/v1/orders/" .. order.id)), 404)
    end))
end)


t.describe("inventory", function()
  t.it("keeps what is held, and tells the past from its log", with_order("manual",
    function(shop, raw)
      local cart = shop.cart { { shop.product("POT", 500, 4), 3 } }
      shop.pay(cart)
      local path = "/admin/v1/inventory/POT/adjustments"
      local status, body = raw.admin("POST", path, { set_to = 2, reason = "lost" }, shop.key())
      t.same({ status, body.code }, { 409, "conflict" })
      status, body = raw.admin("POST", path, { delta = 1, expected_quantity = 9, reason = "x" },
        shop.key())
      t.same({ status, body.code }, { 412, "precondition_failed" })
      shop.must(raw.admin("POST", path, { set_to = 3, reason = "lost" }, shop.key()))
      t.same({ shop.inventory("POT").on_hand, shop.inventory("POT").available }, { 3, 0 })
      for _, row in ipairs(raw.sql.query("SELECT s.on_hand, s.reserved,"
        .. " CAST(SUM(e.on_hand_delta) AS SIGNED) AS h, CAST(SUM(e.reserved_delta) AS SIGNED) AS r"
        .. " FROM stock s JOIN stock_events e ON e.variant_id = s.variant_id"
        .. " GROUP BY s.variant_id")) do
        t.same({ row.h, row.r }, { row.on_hand, row.reserved })
      end
      local past = shop.must(raw.admin("GET",
        "/admin/v1/inventory/POT?as_of=2020-01-01T00:00:00Z")).inventory
      t.equal(past.on_hand, 0)
    end))
end)
