local t = require "till.test"
local passes = require "tests.support.passes"

local exec, pass, with_shop = passes.exec, passes.pass, passes.with_shop


local function events(raw)
  return raw.sql.query("SELECT id, quantity, on_hand_delta, reserved_delta, at, reason, reference"
    .. " FROM stock_events ORDER BY id")
end


t.describe("a pass over all stock", function()
  t.it("finds nothing where nothing is wrong", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    shop.product("POT", 500, 2)
    shop.must(shop.pay(shop.cart { { tea, 2 } }))
    local cart = shop.cart { { tea, 1 } }
    shop.must(shop.pay(cart))
    shop.must(shop.complete(cart))
    shop.work()
    local done, found = pass(raw)
    t.same({ done.checked, done.differences, done.repaired, done.state }, { 2, 0, 0, "done" })
    t.same(found, {})
    t.same(shop.alerts "stock.differs", {})
  end))

  t.it("tells of a projection that is not the sum of its log, and leaves it where it only looks",
    with_shop(function(shop, raw)
      shop.product("TEA", 1000, 9)
      exec(raw, "UPDATE stock SET on_hand = on_hand - 2")
      local before = events(raw)
      local done, found = pass(raw, false)
      t.same({ done.differences, done.repaired }, { 1, 0 })
      t.same({ found[1].kind, found[1].location, found[1].repaired, found[1].detail.sku },
        { "projection", "main", false, "TEA" })
      t.same({ found[1].detail.on_hand, found[1].detail.log_on_hand }, { 7, 9 })
      t.same(events(raw), before)
      t.equal(#shop.alerts "stock.differs", 1)
      pass(raw, false)
      t.equal(shop.told "stock.differs", 1, "told once")
    end))

  t.it("puts it right by one event, and changes none that is there", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 9)
    exec(raw, "UPDATE stock SET on_hand = on_hand - 2")
    local before = events(raw)
    local done, found = pass(raw)
    t.same({ done.differences, done.repaired, found[1].repaired }, { 1, 1, true })
    local after = events(raw)
    t.equal(#after, #before + 1)
    for i, event in ipairs(before) do t.same(after[i], event) end
    local added = after[#after]
    t.same({ added.on_hand_delta, added.reference }, { -2, "check:" .. done.id })
    t.ok(added.reason:find("the log said 9"), added.reason)
    t.equal(shop.inventory("TEA").on_hand, 7, "what was sold by is what counts")
    t.equal(#shop.alerts "stock.differs", 1)
    raw.clock.skip_ms = raw.clock.skip_ms + 1000
    t.equal((pass(raw)).differences, 0)
    t.same(shop.alerts "stock.differs", {}, "it has ended")
    exec(raw, "UPDATE stock SET on_hand = on_hand + 1")
    pass(raw)
    t.equal(shop.told "stock.differs", 2, "and began again")
  end))

  t.it("holds what reservations hold", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    shop.must(shop.pay(shop.cart { { tea, 2 } }))
    exec(raw, "UPDATE stock SET reserved = 5")
    t.equal((pass(raw)).repaired, 1)
    t.equal(shop.inventory("TEA").reserved, 2)
    exec(raw, "UPDATE reservations SET state = 'released' WHERE state = 'held'")
    t.equal((pass(raw)).repaired, 1)
    t.equal(shop.inventory("TEA").reserved, 0)
    t.equal((pass(raw)).differences, 0)
  end))

  t.it("repairs nothing where more is held than there is", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 3)
    shop.must(shop.pay(shop.cart { { tea, 3 } }))
    exec(raw, "UPDATE stock SET on_hand = 1, reserved = 1")
    local done, found = pass(raw)
    t.same({ done.differences, done.repaired, found[1].repaired }, { 1, 0, false })
    local now = shop.inventory("TEA")
    t.same({ now.on_hand, now.reserved }, { 1, 1 })
  end))

  t.it("tells of sales without an order and orders without a sale", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    local cart = shop.cart { { tea, 1 } }
    shop.must(shop.pay(cart))
    shop.must(shop.complete(cart))
    local held = shop.cart { { tea, 1 } }
    shop.must(shop.pay(held))
    exec(raw, "UPDATE reservations SET state = 'released' WHERE state = 'sold'")
    exec(raw, "UPDATE reservations SET state = 'sold' WHERE state = 'held'")
    local _, found = pass(raw, false)
    local kinds = {}
    for _, f in ipairs(found) do kinds[f.kind] = f.subject end
    t.equal(kinds.sale_without_order, held)
    t.ok(kinds.order_without_sale:find("^ord_"))
    t.ok(kinds.projection, "its units are held by nobody")
  end))

  t.it("tells of what is held for too long", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    local cart = shop.cart { { tea, 1 } }
    shop.must(shop.pay(cart))
    raw.clock.skip_ms = 15 * 60000 + 5000
    t.same(select(2, pass(raw)), {}, "the job has some time")
    raw.clock.skip_ms = 26 * 60000
    local _, found = pass(raw)
    t.same({ #found, found[1].kind, found[1].subject }, { 1, "held_too_long", cart })
  end))

  t.it("does not read what a checkpoint spares it, and does not believe one that is wrong",
    with_shop(function(shop, raw)
      shop.product("TEA", 1000, 100)
      local row = raw.sql.one("SELECT variant_id, location_id FROM stock")
      local v, l = raw.sql.bytes(row.variant_id), raw.sql.bytes(row.location_id)
      for _ = 1, 6 do
        exec(raw, "INSERT INTO stock_events (variant_id, location_id, type, quantity,"
          .. " on_hand_delta, reserved_delta) SELECT ?, ?, 'received', 1, 1, 0 FROM"
          .. " seq_1_to_100", v, l)
      end
      exec(raw, "UPDATE stock SET on_hand = on_hand + 600")
      raw.clock.skip_ms = 2 * 3600000
      t.equal((pass(raw)).differences, 0)
      local compare = raw.require "till.store.stock_compare"
      local kept = raw.sql.one("SELECT on_hand FROM stock_checkpoints")
      t.equal(kept.on_hand, 700)
      shop.stock("TEA", 650)
      local keys = assert(compare.slice({ variant_id = ("\0"):rep(16),
        location_id = ("\0"):rep(16) }, 10))
      t.equal(assert(compare.rows(keys))[1].events, 1, "of 602")
      t.equal((pass(raw)).differences, 0)
      exec(raw, "UPDATE stock_checkpoints SET on_hand = 3")
      t.equal((pass(raw)).differences, 0)
      t.equal(shop.count("stock_events", "reference LIKE 'check:%'"), 0)
      t.equal(shop.count("stock_checkpoints"), 0, "it is forgotten")
    end))

  t.it("begins by itself when it is time, and goes on where another one stopped",
    with_shop(function(shop, raw)
      for i = 1, 60 do shop.product("P" .. i, 100, 1) end
      local reconcile = raw.require "till.flow.reconcile"
      assert(reconcile.step())
      local function last() return assert(raw.require("till.store.stock_checks").last()) end
      t.same({ last().state, last().checked, last().repairs }, { "running", 0, 1 })
      assert(reconcile.step())
      t.equal(last().checked, 50)
      exec(raw, "UPDATE stock_checks SET claim = 7, claimed_until = UTC_TIMESTAMP(3)"
        .. " + INTERVAL 30 SECOND")
      assert(reconcile.step())
      t.equal(last().checked, 50, "somebody is at it")
      raw.clock.skip_ms = 31000
      assert(reconcile.step())
      assert(reconcile.step())
      t.same({ last().state, last().checked }, { "done", 60 })
      assert(reconcile.step())
      t.equal(shop.count "stock_checks", 1, "not yet again")
      raw.clock.skip_ms = 3600000 + 1000
      assert(reconcile.step())
      t.equal(shop.count "stock_checks", 2)
    end))

  -- A machine's clock was a year ahead, and is right again.
  t.it("is not kept from beginning, or going on, by what is from far ahead",
    with_shop(function(shop, raw)
      shop.product("TEA", 1000, 1)
      local reconcile, checks = raw.require "till.flow.reconcile",
        raw.require "till.store.stock_checks"
      pass(raw)
      exec(raw, "UPDATE stock_checks SET started_at = started_at + INTERVAL 1 YEAR")
      assert(reconcile.step())
      t.equal(shop.count "stock_checks", 2)
      local before = raw.require("till.prim.time").now_ms() - 2 * 86400000
      t.ok(checks.since(checks.last()) > before, "orders of the day before are looked at")
      t.ok(checks.since(checks.last()) < checks.began(checks.last()))
      exec(raw, "UPDATE stock_checks SET claim = 7, claimed_until = UTC_TIMESTAMP(3)"
        .. " + INTERVAL 1 YEAR WHERE state = 'running'")
      assert(reconcile.step())
      t.equal(checks.last().checked, 1)
    end))

  t.it("is begun by staff, and tells what it found", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 9)
    exec(raw, "UPDATE stock SET on_hand = on_hand - 2")
    local made = shop.must(raw.admin("POST", "/admin/v1/stock-checks", { repairs = true })).check
    t.same({ made.state, made.repairs }, { "running", true })
    local reconcile = raw.require "till.flow.reconcile"
    assert(reconcile.step())
    assert(reconcile.step())
    local path = "/admin/v1/stock-checks/" .. made.id
    local check = shop.must(raw.admin("GET", path)).check
    t.same({ check.state, check.differences, check.repaired }, { "done", 1, 1 })
    t.equal(shop.must(raw.admin("GET", path .. "/findings")).data[1].kind, "projection")
    t.equal(shop.must(raw.admin("GET", "/admin/v1/stock-checks")).data[1].id, made.id)
    t.equal(raw.admin("GET", "/admin/v1/stock-checks/99999"), 404)
  end))
end)


t.describe("what Redis shows of stock", function()
  local function read(raw, variant)
    return (raw.require("till.prim.redis").call("GET", "till:stock:" .. variant))
  end

  local function shown(shop, raw, variant)
    return assert(raw.require("till.flow.stock_view").get({ variant }))[variant].available
  end

  t.it("is brought by the event of each change", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    shop.work()
    t.ok(read(raw, tea):find('"available":9'), read(raw, tea))
    local cart = shop.cart { { tea, 2 } }
    shop.must(shop.pay(cart))
    t.ok(read(raw, tea):find(":?", 1, true), "not to be shown any more")
    shop.work()
    t.ok(read(raw, tea):find('"available":7'), read(raw, tea))
    shop.must(shop.complete(cart))
    shop.work()
    raw.clock.skip_ms = 3600000
    assert(raw.require("till.store.reservations").expire(10, 500))
    shop.work()
    t.ok(read(raw, tea):find('"available":7'), read(raw, tea))
  end))

  t.it("is brought for more variants at once than a statement takes parameters",
    with_shop(function(_, raw)
      local ids, id = {}, raw.require "till.util.id"
      for i = 1, 1700 do ids[i] = id.new("var") end
      local together = raw.require("till.flow.job_handlers").together["stock.changed"]
      assert(together { { variant_ids = ids } })
      t.ok(read(raw, ids[1700]), "the last one is there")
    end))

  t.it("is never overwritten by what is older, however late it comes",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 9)
      shop.work()
      local store, view = raw.require "till.store.offers", raw.require "till.flow.stock_view"
      local load = store.load
      local old = assert(load { tea })
      shop.stock("TEA", 3)
      shop.work()
      store.load = function() return old end
      assert(view.refresh { tea })
      store.load = load
      t.ok(read(raw, tea):find('"available":3'), read(raw, tea))
      t.equal(shown(shop, raw, tea), 3)
    end))

  t.it("may be flushed at any time", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 9)
    shop.work()
    raw.require("till.prim.redis").call("FLUSHALL")
    t.equal(shown(shop, raw, tea), 9)
    t.equal((pass(raw)).differences, 0)
  end))

  t.it("is put right by a pass where it says what the tables never said",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 9)
      shop.work()
      local redis = raw.require "till.prim.redis"
      local version = read(raw, tea):match("^%d+")
      redis.call("SET", "till:stock:" .. tea, version .. ':{"available":99,"version":' .. version
        .. "}")
      local _, found = pass(raw)
      t.same({ #found, found[1].kind, found[1].repaired }, { 1, "read_model", true })
      t.equal(shown(shop, raw, tea), 9)
      redis.call("SET", "till:stock:" .. tea, '999:{"available":9,"version":999}')
      t.equal((pass(raw)).differences, 1, "a version of the future")
      redis.call("SET", "till:stock:" .. tea, '1:{"available":0,"version":1}')
      t.equal((pass(raw)).differences, 0, "its event may be under way")
    end))
end)


t.describe("promises of a pass", function()
  local function promised(raw)
    return raw.sql.one("SELECT promised FROM backorders").promised
  end

  t.it("are what reservations wait for, and are put right by an event",
    with_shop(function(shop, raw)
      local tea = shop.product("TEA", 1000, 1)
      shop.must(raw.admin("PUT", "/admin/v1/inventory/TEA/backorders", { policy = "backorder",
        limit = 10 }))
      shop.must(shop.pay(shop.cart { { tea, 3 } }))
      t.equal(promised(raw), 2)
      t.equal((pass(raw)).differences, 0)
      exec(raw, "UPDATE backorders SET promised = 7")
      local before = events(raw)
      local done, found = pass(raw)
      t.same({ done.differences, done.repaired, found[1].kind }, { 1, 1, "promised" })
      t.equal(promised(raw), 2)
      local after = events(raw)
      t.same({ #after, after[#after].reserved_delta }, { #before + 1, 0 },
        "the log was right: the event says what was found")
      t.equal((pass(raw)).differences, 0)
    end))

  t.it("are left alone where more is waited for than may be", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    shop.must(raw.admin("PUT", "/admin/v1/inventory/TEA/backorders", { policy = "backorder",
      limit = 10 }))
    shop.must(shop.pay(shop.cart { { tea, 3 } }))
    exec(raw, "UPDATE backorders SET promised = 1, unit_limit = 1")
    local done = pass(raw)
    t.same({ done.differences, done.repaired, promised(raw) }, { 1, 0, 1 })
  end))
end)


t.describe("units that a count or a transfer brings", function()
  t.it("go to who waits for them", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 1000, 1)
    shop.must(raw.admin("PUT", "/admin/v1/inventory/TEA/backorders", { policy = "backorder",
      limit = 10 }))
    local cart = shop.cart { { tea, 3 } }
    shop.must(shop.pay(cart))
    shop.must(shop.complete(cart))
    local last = raw.sql.one("SELECT MAX(id) AS id FROM stock_events").id
    raw.clock.skip_ms = raw.clock.skip_ms + 10
    shop.must(raw.admin("POST", "/admin/v1/inventory/TEA/counts", { quantity = 5, event_id = last,
      reason = "stocktake" }, shop.key()))
    t.equal(shop.inventory("TEA").on_hand, 3)
    t.equal(raw.sql.one("SELECT promised FROM backorders").promised, 0)
    t.equal((pass(raw)).differences, 0)
  end))
end)
