local t = require "till.test"
local passes = require "tests.support.passes"

local exec, pass, with_shop = passes.exec, passes.pass, passes.with_shop


-- So many rows of one millisecond each, two hours ago
local function long_log(raw, n)
  local row = raw.sql.one("SELECT s.variant_id, s.location_id FROM stock s JOIN variants v"
    .. " ON v.id = s.variant_id WHERE v.sku = 'HOT'")
  local v, l = raw.sql.bytes(row.variant_id), raw.sql.bytes(row.location_id)
  exec(raw, "INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta,"
    .. " reserved_delta, at) SELECT ?, ?, 'received', 1, 1, 0, UTC_TIMESTAMP(3)"
    .. " - INTERVAL 7200 SECOND + INTERVAL seq * 1000 MICROSECOND FROM seq_1_to_" .. n, v, l)
  exec(raw, "UPDATE stock SET on_hand = on_hand + ? WHERE variant_id = ?", n, v)
  return v
end

-- As a database that adds up `most` events in time and no more
local function slow(raw, most, fn)
  local compare = raw.require "till.store.stock_compare"
  local sums = raw.require "till.store.stock_sums"
  local reconcile = raw.require "till.flow.reconcile"
  local step, steps, was = sums.step_events, reconcile.most_steps, {}
  for _, name in ipairs { "rows", "promises" } do
    was[name] = compare[name]
    compare[name] = function(keys, tx)
      local out, e = was[name](keys, tx)
      for _, row in ipairs(out or {}) do
        if row.events > most then return nil, { code = "timeout" } end
      end
      return out, e
    end
  end
  sums.step_events, reconcile.most_steps = 100, 1
  local good, e = pcall(fn)
  sums.step_events, reconcile.most_steps = step, steps
  compare.rows, compare.promises = was.rows, was.promises
  if not good then error(e, 0) end
end


t.describe("a row with a log too long for one statement", function()
  t.it("stops no pass: it is noted, all others are checked, and later passes come to its end",
    with_shop(function(shop, raw)
      for i = 1, 3 do shop.product("P" .. i, 100, 1) end
      shop.product("HOT", 100, 0)
      long_log(raw, 1000)
      shop.product("LAST", 100, 1)
      exec(raw, "UPDATE stock s JOIN variants v ON v.id = s.variant_id SET s.on_hand = 2"
        .. " WHERE v.sku = 'LAST'")
      slow(raw, 350, function()
        local done, found = pass(raw, false)
        t.same({ done.state, done.checked, done.differences }, { "done", 5, 2 })
        t.same({ found[1].kind, found[1].detail.sku }, { "projection", "LAST" })
        t.same({ found[2].kind, found[2].detail.sku, found[2].location, found[2].repaired },
          { "not_summed", "HOT", "main", false })
        t.equal(#shop.alerts "stock.differs", 2)
        local before = raw.sql.one "SELECT at, on_hand FROM stock_checkpoints"
        t.ok(before.on_hand > 0 and before.on_hand < 650, "a part of the way")
        for _ = 1, 3 do
          raw.clock.skip_ms = raw.clock.skip_ms + 1000
          done, found = pass(raw, false)
        end
        t.same({ done.checked, done.differences, found[1].detail.sku }, { 5, 1, "LAST" })
        t.equal(#shop.alerts "stock.differs", 1, "that of the long log has ended")
      end)
    end))

  t.it("is put right, too, though no checkpoint is believed", with_shop(function(shop, raw)
    shop.product("HOT", 100, 0)
    local v = long_log(raw, 1000)
    slow(raw, 350, function()
      for _ = 1, 8 do pass(raw) end
      exec(raw, "UPDATE stock_checkpoints SET on_hand = on_hand + 5")
      t.equal((pass(raw)).differences, 0, "the checkpoint was wrong")
      t.equal(shop.count "stock_checkpoints", 0)
      for _ = 1, 8 do pass(raw) end
      exec(raw, "UPDATE stock SET on_hand = on_hand - 2 WHERE variant_id = ?", v)
      local done, found = pass(raw)
      t.same({ done.repaired, found[1].kind, found[1].detail.log_on_hand },
        { 1, "projection", 1000 })
    end)
    t.equal(shop.inventory("HOT").on_hand, 998)
  end))

  t.it("is added up in steps of a time each, and of no fewer events than a millisecond has",
    with_shop(function(shop, raw)
      shop.product("HOT", 100, 3)
      long_log(raw, 250)
      local sums = raw.require "till.store.stock_sums"
      local place = raw.sql.one "SELECT variant_id, location_id FROM stock"
      exec(raw, "UPDATE stock_events SET at = '2020-01-01 00:00:00' WHERE id % 2 = 0")
      slow(raw, 1, function()
        sums.step_events = 7
        local sum = assert(sums.add(place, 0, raw.require("till.prim.time").now_ms() + 1000))
        t.same({ sum.on_hand, sum.reserved, sum.events }, { 253, 0, 251 })
      end)
    end))
end)


t.describe("promises", function()
  t.it("that cannot be added up in time are noted, and the others are looked at",
    with_shop(function(shop, raw)
      for _, sku in ipairs { "HOT", "TEA" } do
        shop.product(sku, 1000, 1)
        shop.must(raw.admin("PUT", "/admin/v1/inventory/" .. sku .. "/backorders",
          { policy = "backorder", limit = 10 }))
      end
      exec(raw, "UPDATE backorders SET promised = 1")
      local hot = raw.sql.one("SELECT id FROM variants WHERE sku = 'HOT'").id
      local compare = raw.require "till.store.stock_compare"
      local promises = compare.promises
      compare.promises = function(keys, tx)
        local is_hot = keys[1] and keys[1].variant_id == hot
        if keys[2] or is_hot then return nil, { code = "timeout" } end
        return promises(keys, tx)
      end
      local good, done, found = pcall(pass, raw)
      compare.promises = promises
      t.ok(good, done)
      t.same({ done.state, done.differences, done.repaired }, { "done", 2, 1 })
      local by = { [found[1].kind] = found[1], [found[2].kind] = found[2] }
      t.equal(by.promised.detail.sku, "TEA")
      t.equal(by.not_summed.subject, raw.require("till.util.id").text("var", hot))
    end))

  -- So many units were promised, and came, one after the other; two are promised still.
  local function long_promises(raw, shop, n)
    shop.product("HOT", 1000, 0)
    shop.must(raw.admin("PUT", "/admin/v1/inventory/HOT/backorders",
      { policy = "backorder", limit = 10 }))
    shop.must(shop.pay(shop.cart { { raw.require("till.util.id").text("var",
      raw.sql.one("SELECT id FROM variants").id), 2 } }))
    exec(raw, "INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta,"
      .. " reserved_delta, at) SELECT v.id, NULL, 'reserved', 1, 0, IF(seq MOD 2 = 0, -1, 1),"
      .. " UTC_TIMESTAMP(3) - INTERVAL 7200 SECOND + INTERVAL seq * 1000 MICROSECOND"
      .. " FROM variants v, seq_1_to_" .. n)
  end

  t.it("of a long log begin at a checkpoint, which later passes come to, and which is not believed",
    with_shop(function(shop, raw)
      long_promises(raw, shop, 1000)
      slow(raw, 350, function()
        local done, found = pass(raw)
        t.same({ done.differences, done.repaired, found[1].kind }, { 1, 0, "not_summed" })
        for _ = 1, 8 do done = pass(raw) end
        t.equal(done.differences, 0)
        local kept = raw.sql.one "SELECT * FROM stock_checkpoints WHERE reserved IS NOT NULL"
        t.same({ kept.location_id, kept.on_hand }, { ("\0"):rep(16), 0 })
        t.ok(kept.events >= 650, "most of the way")
        exec(raw, "UPDATE stock_checkpoints SET reserved = reserved + 5")
        t.equal((pass(raw)).differences, 0, "the checkpoint was wrong")
        t.equal(shop.count "stock_checkpoints", 0)
        for _ = 1, 8 do pass(raw) end
        exec(raw, "UPDATE backorders SET promised = 7")
        done, found = pass(raw)
        t.same({ done.repaired, found[1].kind, found[1].detail.log_promised }, { 1, "promised", 2 })
        t.equal(raw.sql.one("SELECT promised FROM backorders").promised, 2)
      end)
    end))
end)
