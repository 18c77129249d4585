local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local EVENTS = 600


-- A shop with one SKU; a unit comes or goes each 20 s from three hours and 20 min ago until now,
-- and of the two of a moment the later one has the smaller id. fn(shop, raw, h): h.place,
-- h.sums, h.began in ms, h.sql(condition, value) what the log says, added up at once
local function with_log(fn)
  return live.test(function(raw)
    local shop, h = make_shop(raw), {}
    shop.product("HOT", 100, 50)
    h.place = raw.sql.one "SELECT variant_id, location_id FROM stock"
    h.now = raw.require("till.prim.time").now_ms
    h.began = h.now() - EVENTS * 20000
    local v, l = raw.sql.bytes(h.place.variant_id), raw.sql.bytes(h.place.location_id)
    local began = raw.require("till.prim.time").sql(h.began)
    assert(raw.sql.exec("UPDATE stock_events SET at = ?", began))
    assert(raw.sql.exec("INSERT INTO stock_events (variant_id, location_id, type, quantity,"
      .. " on_hand_delta, reserved_delta, at) SELECT ?, ?, 'adjusted', 0,"
      .. " CAST(seq MOD 5 AS SIGNED) - 1, 0, ? + INTERVAL (seq ^ 1) * 20 SECOND FROM seq_1_to_"
      .. EVENTS - 2, v, l, began))
    assert(raw.sql.exec "UPDATE stock SET on_hand = (SELECT SUM(on_hand_delta) FROM stock_events)")
    h.sums = raw.require "till.store.stock_sums"
    function h.sql(condition, value)
      return assert(raw.sql.one("SELECT CAST(COALESCE(SUM(on_hand_delta), 0) AS SIGNED) AS n"
        .. " FROM stock_events WHERE " .. condition, value)).n
    end
    function h.at(ms) return raw.require("till.prim.time").rfc3339(ms) end
    function h.as_of(ms)
      return shop.must(raw.admin("GET", "/admin/v1/inventory/HOT?as_of=" .. h.at(ms)))
        .inventory.on_hand
    end
    function h.catch_up()
      assert(h.sums.catch_up({ { variant_id = h.place.variant_id, on_hand = 0, reserved = 0,
        location_id = h.place.location_id } }, h.now() - 3600000, 1000))
    end
    local size = h.sums.step_events
    h.sums.step_events = 50
    local good, e = pcall(fn, shop, raw, h)
    h.sums.step_events = size
    if not good then error(e, 0) end
  end)
end


t.describe("what there was, of a long log", function()
  t.it("begins at the checkpoint, on either side of it, where the log's beginning is farther",
    with_log(function(shop, raw, h)
      h.catch_up()
      t.equal(shop.count "stock_checkpoints", 1)
      local time = raw.require "till.prim.time"
      for i = 0, EVENTS, 13 do
        local ms = h.began + i * 20000
        t.equal(h.as_of(ms), h.sql("at <= ?", time.sql(ms)), "event " .. i)
      end
      local kept = time.parse(raw.sql.one("SELECT at FROM stock_checkpoints").at)
      assert(raw.sql.exec "UPDATE stock_checkpoints SET on_hand = on_hand + 1000")
      local function from_checkpoint(ms) return h.as_of(ms) - h.sql("at <= ?", time.sql(ms)) end
      t.equal(from_checkpoint(kept + 60000), 1000, "forward")
      t.equal(from_checkpoint(kept - 60000), 1000, "back")
      t.equal(from_checkpoint(h.began + 60000), 0, "from the beginning")
      t.equal(h.as_of(h.began - 1), 0, "nothing was there")
    end))

  t.it("is as little to add up for a time long ago as for one just now", with_log(
    function(shop, raw, h)
      local time, add, keep = raw.require "till.prim.time", h.sums.add, h.sums.keep_events
      local most, read = 0, 0
      h.sums.keep_events = 100
      h.catch_up()
      t.ok(shop.count "stock_checkpoints" >= 4, "one stays every 100 events")
      local compare = raw.require "till.store.stock_compare"
      local keys = assert(compare.slice({ variant_id = ("\0"):rep(16),
        location_id = ("\0"):rep(16) }, 10))
      t.equal(#keys, 1, "the newest alone")
      t.equal(keys[1].at, raw.sql.one("SELECT MAX(at) AS at FROM stock_checkpoints").at)
      h.sums.add = function(...)
        local sum, e = add(...)
        read = read + (sum and sum.events or 0)
        return sum, e
      end
      local good, e = pcall(function()
        for i = 0, EVENTS, 7 do
          local ms = h.began + i * 20000
          read = 0
          t.equal(h.as_of(ms), h.sql("at <= ?", time.sql(ms)), "event " .. i)
          most = math.max(most, read)
        end
        t.ok(most > 40 and most <= 75, most)
        assert(raw.sql.exec "UPDATE stock SET on_hand = on_hand - 2")
        local passes = require "tests.support.passes"
        t.equal((passes.pass(raw)).repaired, 1)
        t.equal(shop.count "stock_checkpoints", 0, "none of them is believed")
      end)
      h.sums.add, h.sums.keep_events = add, keep
      if not good then error(e, 0) end
    end))
end)


t.describe("a count, of a long log", function()
  -- As a count asks; -> units, has anybody said since
  local function ask(raw, h, moment)
    local past_of = raw.require "till.store.stock_past"
    return raw.sql.transaction(function(tx)
      local at = { variant = h.place.variant_id, location = h.place.location_id,
        vbin = raw.sql.bytes(h.place.variant_id), lbin = raw.sql.bytes(h.place.location_id) }
      local past = assert(past_of.before(tx, at, moment))
      local row = assert(tx:one "SELECT on_hand, reserved FROM stock FOR UPDATE")
      return past_of.on_hand_at(tx, at, past, row, true)
    end)
  end

  t.it("is the same as all of the log added up, whenever it was taken", with_log(function(_, raw, h)
    local time = raw.require "till.prim.time"
    local first = raw.sql.one("SELECT MIN(id) AS id FROM stock_events").id
    assert(raw.sql.exec("UPDATE stock_events SET type = 'counted' WHERE id = ?", first + 300))
    local counted = time.parse(raw.sql.one("SELECT at FROM stock_events WHERE id = ?",
      first + 300).at)
    for _ = 1, 2 do
      for i = 0, EVENTS - 2, 23 do
        local ms = h.began + i * 20000
        t.same({ ask(raw, h, { taken_at = h.at(ms) }) },
          { h.sql("at <= ?", time.sql(ms)), counted > ms }, "event " .. i)
        t.same({ ask(raw, h, { event_id = first + i }) },
          { h.sql("id <= ?", first + i), i < 300 }, "id " .. i)
      end
      h.catch_up()
    end
  end))

  t.it("adds up before it locks the row", with_log(function(shop, raw, h)
    h.catch_up()
    local add, free, asked = h.sums.add, 0, 0
    h.sums.add = function(...)
      asked = asked + 1
      if raw.sql.one "SELECT version FROM stock FOR UPDATE NOWAIT" then free = free + 1 end
      return add(...)
    end
    local good, e = pcall(function()
      local taken = h.at(h.now() - 600000)
      local made = shop.must(raw.admin("POST", "/admin/v1/inventory/HOT/counts",
        { quantity = 77, taken_at = taken, reason = "stocktake" }, shop.key())).count
      t.equal(made.on_hand - made.moved_since, 77)
    end)
    h.sums.add = add
    if not good then error(e, 0) end
    t.ok(asked > 0, "asked")
    t.equal(free, asked, "nobody waits for it")
  end))

  t.it("sees an old event that was committed while it added up", with_log(function(_, raw, h)
    local time, at = raw.require "till.prim.time", h.sums.at
    local is_first = true
    h.sums.at = function(...)
      local was, e = at(...)
      if is_first then
        is_first = false
        assert(raw.sql.exec("INSERT INTO stock_events (variant_id, location_id, type, quantity,"
          .. " on_hand_delta, reserved_delta, at) VALUES (?, ?, 'received', 7, 7, 0, ?)",
          raw.sql.bytes(h.place.variant_id), raw.sql.bytes(h.place.location_id),
          time.sql(h.now() - 900000)))
        assert(raw.sql.exec "UPDATE stock SET on_hand = on_hand + 7")
      end
      return was, e
    end
    local good, units = pcall(ask, raw, h, { taken_at = h.at(h.now() - 600000) })
    h.sums.at = at
    t.ok(good, units)
    t.equal(units, h.sql("at <= ?", time.sql(h.now() - 600000)))
  end))
end)
