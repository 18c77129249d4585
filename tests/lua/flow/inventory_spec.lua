local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function forget_places(raw)
  raw.sql.exec("DELETE FROM stock WHERE location_id IN"
    .. " (SELECT id FROM locations WHERE code <> 'main')")
  raw.sql.exec("DELETE FROM locations WHERE code <> 'main'")
  raw.sql.exec("UPDATE locations SET enabled = 1, name = 'Main', priority = 100")
end


local function with_shop(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    shop.post = function(path, body)
      return raw.admin("POST", "/admin/v1/inventory/" .. path, body, shop.key())
    end
    shop.place = function(code, fields)
      local body = { code = code, name = code }
      for name, value in pairs(fields or {}) do body[name] = value end
      return shop.must(raw.admin("POST", "/admin/v1/locations", body)).location
    end
    forget_places(raw)
    local good, e = pcall(fn, shop, raw)
    forget_places(raw)
    if not good then error(e, 0) end
  end)
end


local function sums(raw)
  return raw.sql.query("SELECT s.on_hand, s.reserved, CAST(SUM(e.on_hand_delta) AS SIGNED) AS log,"
    .. " CAST(SUM(e.reserved_delta) AS SIGNED) AS log_reserved FROM stock s JOIN stock_events e"
    .. " USING (variant_id, location_id) GROUP BY s.variant_id, s.location_id"
    .. " HAVING s.on_hand <> log OR s.reserved <> log_reserved")
end


local function now_text(raw)
  local time = raw.require "till.prim.time"
  return time.rfc3339(time.now_ms())
end


-- The next event has a later millisecond.
local function tick(raw, ms)
  raw.clock.skip_ms = raw.clock.skip_ms + (ms or 10)
end


local function events_of(shop, raw, sku, query)
  return shop.must(raw.admin("GET", "/admin/v1/inventory/" .. sku .. "/events" .. (query or "")))
end


t.describe("adjustments", function()
  t.it("are refused where somebody believes in another number", with_shop(function(shop)
    shop.product("TEA", 1000, 5)
    local status, body = shop.post("TEA/adjustments", { delta = 1, expected_quantity = 4,
      reason = "found" })
    t.same({ status, body.code }, { 412, "precondition_failed" })
    t.equal(shop.inventory("TEA").on_hand, 5)
    t.equal(shop.post("TEA/adjustments", { delta = 1, expected_quantity = 5, reason = "found" }),
      201)
    t.equal(shop.inventory("TEA").on_hand, 6)
  end))

  t.it("take nothing from shoppers unless that is said", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 5)
    local carts = {}
    for i = 1, 3 do
      carts[i] = shop.cart { { tea, 1 } }
      shop.must(shop.pay(carts[i]))
    end
    local status, body = shop.post("TEA/adjustments", { set_to = 1, reason = "burnt" })
    t.same({ status, body.code }, { 409, "conflict" })
    t.ok(body.detail:find("3 are held"), body.detail)
    local made = shop.must(shop.post("TEA/adjustments", { set_to = 1, reason = "burnt",
      override = true })).adjustment
    t.same(made.released, { carts[3], carts[2] }, "the youngest first")
    local now = shop.inventory("TEA")
    t.same({ now.on_hand, now.reserved, now.available }, { 1, 1, 0 })
    t.equal(select(2, shop.complete(carts[1])).type, "order", "the first one keeps his")
    status, body = shop.complete(carts[3])
    t.same({ status, body.type, body.error.code }, { 200, "cart", "sold_out" })
    t.equal(shop.count("audit_entries", "action = 'inventory.override'"), 1)
    t.same(sums(raw), {})
  end))

  t.it("leave carts alone that are being completed, also by an override",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 2)
      local cart = shop.cart { { tea, 2 } }
      shop.must(shop.pay(cart))
      raw.sql.exec("UPDATE carts SET state = 'completing'")
      local status, body = shop.post("TEA/adjustments", { set_to = 0, reason = "burnt",
        override = true })
      t.same({ status, body.code }, { 409, "conflict" })
      t.ok(body.detail:find("being paid for"), body.detail)
      t.equal(shop.inventory("TEA").reserved, 2)
    end))

  t.it("never make it less than nothing", with_shop(function(shop)
    shop.product("TEA", 1000, 2)
    t.equal(shop.post("TEA/adjustments", { delta = -3, reason = "lost" }), 409)
    t.equal(shop.post("TEA/adjustments", { delta = -3, reason = "lost", override = true }), 409)
    t.equal(shop.post("TEA/adjustments", { delta = 1, set_to = 1, reason = "both" }), 422)
    t.equal(shop.post("NONE/adjustments", { delta = 1, reason = "found" }), 404)
    t.equal(shop.post("TEA/adjustments", { delta = 1, reason = "x", location = "moon" }), 404)
    t.equal(shop.inventory("TEA").on_hand, 2)
  end))
end)


t.describe("a count", function()
  t.it("keeps on top what was sold and came in since", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 10)
    tick(raw)
    local taken = now_text(raw)
    tick(raw)
    local cart = shop.cart { { tea, 3 } }
    shop.must(shop.pay(cart))
    shop.must(shop.complete(cart))
    shop.must(shop.post("TEA/adjustments", { delta = 5, reason = "received" }))
    local made = shop.must(shop.post("TEA/counts", { quantity = 8, taken_at = taken,
      reason = "stocktake" }))
    t.same({ made.count.before, made.count.moved_since, made.count.on_hand }, { 12, 2, 10 },
      "8 were there, 3 were sold, 5 came")
    t.equal(shop.inventory("TEA").on_hand, 10)
    local event = events_of(shop, raw, "TEA").data[1]
    t.same({ event.type, event.quantity, event.on_hand_delta, event.reason },
      { "counted", -2, -2, "stocktake" })
    t.same(sums(raw), {})
  end))

  t.it("may name the last event that it knows of", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 10)
    local seen = events_of(shop, raw, "TEA").data[1].id
    shop.must(shop.post("TEA/adjustments", { delta = -4, reason = "given away" }))
    local made = shop.must(shop.post("TEA/counts", { quantity = 11, event_id = seen,
      reason = "stocktake" }))
    t.equal(made.count.on_hand, 7)
  end))

  t.it("is refused once somebody has said how many there are since", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 10)
    tick(raw)
    local taken = now_text(raw)
    tick(raw)
    shop.must(shop.post("TEA/counts", { quantity = 8, taken_at = taken, reason = "first" }))
    tick(raw)
    local status, body = shop.post("TEA/counts", { quantity = 8, taken_at = taken,
      reason = "second" })
    t.same({ status, body.code }, { 409, "conflict" })
    t.ok(body.detail:find("count again"), body.detail)
    t.equal(shop.inventory("TEA").on_hand, 8, "not 6")
    local later = now_text(raw)
    t.equal(shop.post("TEA/counts", { quantity = 9, taken_at = later, reason = "third" }), 201)
  end))

  t.it("is refused where more was sold since than was counted", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 10)
    tick(raw)
    local taken = now_text(raw)
    tick(raw)
    local cart = shop.cart { { tea, 5 } }
    shop.must(shop.pay(cart))
    shop.must(shop.complete(cart))
    local status, body = shop.post("TEA/counts", { quantity = 4, taken_at = taken,
      reason = "stocktake" })
    t.same({ status, body.code }, { 409, "conflict" })
    t.ok(body.detail:find("cannot be %-1"), body.detail)
    t.equal(shop.inventory("TEA").on_hand, 5)
  end))

  t.it("goes below what is held only when that is said", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 10)
    tick(raw)
    local taken = now_text(raw)
    tick(raw)
    local cart = shop.cart { { tea, 5 } }
    shop.must(shop.pay(cart))
    t.equal(shop.post("TEA/counts", { quantity = 4, taken_at = taken, reason = "x" }), 409)
    local made = shop.must(shop.post("TEA/counts", { quantity = 4, taken_at = taken,
      reason = "x", override = true })).count
    t.same({ made.released, made.on_hand }, { { cart }, 4 })
    t.equal(shop.inventory("TEA").reserved, 0)
    t.same(sums(raw), {})
  end))

  t.it("says when it was taken, and not in the future", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 10)
    t.equal(shop.post("TEA/counts", { quantity = 4, reason = "x" }), 422)
    t.equal(shop.post("TEA/counts", { quantity = 4, reason = "x", event_id = 1,
      taken_at = now_text(raw) }), 422)
    t.equal(shop.post("TEA/counts", { quantity = 4, reason = "x",
      taken_at = "2999-01-01T00:00:00Z" }), 422)
    t.equal(shop.post("TEA/counts", { quantity = 4, reason = "x", event_id = 2 ^ 52 }), 422)
    t.equal(shop.inventory("TEA").on_hand, 10)
  end))
end)


t.describe("a transfer", function()
  t.it("is two events or none", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 10)
    shop.place("shop")
    shop.must(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 4,
      reason = "refill" }))
    local stock = shop.inventory("TEA")
    t.same({ stock.locations[1].on_hand, stock.locations[2].on_hand, stock.on_hand }, { 6, 4, 10 })
    t.equal(shop.count("stock_events", "type = 'transferred'"), 2)
    local rows = raw.sql.query("SELECT DISTINCT reference FROM stock_events"
      .. " WHERE type = 'transferred'")
    t.equal(#rows, 1, "both name it")
    t.equal(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 7,
      reason = "x" }), 409)
    t.equal(shop.count("stock_events", "type = 'transferred'"), 2)
    shop.product("MUG", 1000, 1000)
    local body = { from = "main", to = "shop", quantity = 1, reason = "refill" }
    for _ = 1, 20 do shop.must(shop.post("MUG/transfers", body)) end
    t.same(raw.sql.query("SELECT reference FROM stock_events WHERE type = 'transferred'"
      .. " GROUP BY reference HAVING COUNT(DISTINCT at) <> 1"), {}, "no unit is at both places")
    t.same(sums(raw), {})
  end))

  t.it("takes nothing that is held for shoppers", with_shop(function(shop)
    local tea = shop.product("TEA", 1000, 10)
    shop.place("shop")
    shop.must(shop.pay(shop.cart { { tea, 8 } }))
    t.equal(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 3,
      reason = "x" }), 409)
    t.equal(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 2,
      expected_quantity = 9, reason = "x" }), 412)
    t.equal(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 2,
      expected_quantity = 10, reason = "x" }), 201)
    t.equal(shop.post("TEA/transfers", { from = "main", to = "main", quantity = 1,
      reason = "x" }), 422)
    t.equal(shop.post("TEA/transfers", { from = "main", to = "moon", quantity = 1,
      reason = "x" }), 404)
  end))
end)


t.describe("the past of stock", function()
  t.it("is told for each SKU and location at any time", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 10)
    shop.place("shop")
    tick(raw)
    local before = now_text(raw)
    tick(raw)
    shop.must(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 4,
      reason = "refill" }))
    shop.must(shop.pay(shop.cart { { tea, 1 } }))
    tick(raw)
    local function at(query)
      return shop.must(raw.admin("GET", "/admin/v1/inventory/TEA?" .. query)).inventory
    end
    local was = at("as_of=" .. before)
    t.same({ was.on_hand, was.reserved, #was.locations }, { 10, 0, 1 })
    t.equal(was.version, nil)
    local now = at("as_of=" .. now_text(raw))
    t.same({ now.on_hand, now.reserved, now.available }, { 10, 1, 9 })
    t.equal(at("location=shop&as_of=" .. now_text(raw)).on_hand, 4)
    t.equal(at("location=shop").on_hand, 4)
    t.equal(at("as_of=2001-01-01T00:00:00Z").on_hand, 0)
  end))

  t.it("is listed event by event, page by page", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 10)
    shop.place("shop")
    for i = 1, 5 do
      if i % 2 == 0 then tick(raw) end -- some within one millisecond
      shop.must(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 1,
        reason = "t" .. i }))
    end
    local seen, path = {}, "?limit=3"
    repeat
      local page = events_of(shop, raw, "TEA", path)
      for _, event in ipairs(page.data) do seen[#seen + 1] = event.id end
      path = page.has_more and "?limit=3&after=" .. page.next_cursor or nil
    until not path
    t.equal(#seen, 11)
    for i = 2, #seen do t.ok(seen[i] < seen[i - 1], "newest first") end
    local back = events_of(shop, raw, "TEA", "?limit=3&after="
      .. events_of(shop, raw, "TEA", "?limit=3").next_cursor)
    local first = events_of(shop, raw, "TEA", "?limit=3&before=" .. back.prev_cursor)
    t.same({ first.data[1].id, first.data[3].id }, { seen[1], seen[3] })
    t.equal(#events_of(shop, raw, "TEA", "?location=shop").data, 5)
    t.equal(raw.admin("GET", "/admin/v1/inventory/NONE/events"), 404)
  end))
end)


t.describe("locations", function()
  t.it("are opened, renamed, shut; the last open one stays open", with_shop(function(shop, raw)
    local made = shop.place("shop", { priority = 5 })
    t.same({ made.code, made.enabled, made.priority }, { "shop", true, 5 })
    t.equal(raw.admin("POST", "/admin/v1/locations", { code = "shop", name = "again" }), 409)
    local path = "/admin/v1/locations/"
    local changed = shop.must(raw.admin("PATCH", path .. "shop", { name = "The shop",
      enabled = false })).location
    t.same({ changed.name, changed.enabled, changed.priority }, { "The shop", false, 5 })
    local status, body = raw.admin("PATCH", path .. "main", { enabled = false })
    t.same({ status, body.code }, { 409, "conflict" })
    t.equal(#shop.must(raw.admin("GET", "/admin/v1/locations")).data, 2)
    t.equal(raw.admin("PATCH", path .. "moon", { name = "x" }), 404)
    t.equal(raw.admin("POST", "/admin/v1/locations", { code = "no way", name = "x" }), 422)
    t.equal(shop.count("audit_entries", "action LIKE 'locations.%'"), 2)
  end))

  t.it("cannot vanish with stock, held units or a past", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 10)
    shop.place("shop")
    shop.must(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 4,
      reason = "refill" }))
    t.equal(raw.admin("DELETE", "/admin/v1/locations/shop"), 409)
    shop.must(shop.post("TEA/transfers", { from = "shop", to = "main", quantity = 4,
      reason = "back" }))
    local status, body = raw.admin("DELETE", "/admin/v1/locations/shop")
    t.equal(status, 409)
    t.ok(body.detail:find("log of stock"), body.detail)
    t.equal(raw.admin("DELETE", "/admin/v1/locations/main"), 409)
    shop.place("never")
    t.equal(raw.admin("DELETE", "/admin/v1/locations/never"), 204)
    t.equal(raw.admin("GET", "/admin/v1/locations/never"), 404)
  end))

  t.it("that are shut are not shown to shoppers, and are again", with_shop(function(shop, raw)
    local _, product = shop.product("TEA", 1000, 10)
    shop.place("shop")
    shop.must(shop.post("TEA/transfers", { from = "main", to = "shop", quantity = 4,
      reason = "refill" }))
    shop.work()
    local function shown()
      return shop.must(raw.store("GET", "/store/v1/products/" .. product.id))
        .product.variants[1].available
    end
    t.equal(shown(), 10)
    shop.must(raw.admin("PATCH", "/admin/v1/locations/shop", { enabled = false }))
    shop.work()
    t.equal(shown(), 6)
    shop.must(raw.admin("PATCH", "/admin/v1/locations/shop", { enabled = true }))
    shop.work()
    t.equal(shown(), 10)
  end))
end)
