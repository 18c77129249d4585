-- Payments that were given up, and may have got to their provider all the same.
local t = require "till.test"
local json = require "till.prim.json"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local HOUR = 60


-- fn(shop, raw, p): one that failed, is looked for, and is held at its provider.
local function with_doubt(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
    shop.pay(cart, "test", "tok_requires_action")
    shop.complete(cart)
    raw.sql.exec "UPDATE payment_test_attempts SET state = 'authorized'"
    raw.sql.exec "UPDATE payments SET state = 'failed'"
    local p = raw.require("till.store.payments").of_cart(cart)[1]
    raw.sql.transaction(function(tx) return raw.require("till.store.doubts").add(tx, p.id) end)
    fn(shop, raw, p)
  end)
end


local function sweep(raw, minutes)
  raw.clock.skip_ms = raw.clock.skip_ms + minutes * 60000
  assert(raw.require("till.flow.sweep").run())
end


-- As after a reload without it; -> asked() how often it was, back() brings it back.
local function without_plugin(raw)
  local dispatch, n = raw.require "till.plugin.dispatch", 0
  local has, names, plugin = dispatch.has, dispatch.names, dispatch.plugin
  dispatch.has = function(hook, name) return name ~= "payment-test" and has(hook, name) end
  dispatch.plugin = function(name, ...)
    if name ~= "payment-test" then return plugin(name, ...) end
    n = n + 1
    return nil, raw.require("till.util.err").new("not_found", "there is no plugin")
  end
  return function() return n end,
    function() dispatch.has, dispatch.names, dispatch.plugin = has, names, plugin end
end


local function answering(raw, say)
  local dispatch = raw.require "till.plugin.dispatch"
  local plugin = dispatch.plugin
  dispatch.plugin = function(name, hook, ...)
    if hook == "payment.lookup" and say.outcome then return { outcome = say.outcome } end
    return plugin(name, hook, ...)
  end
  return function() dispatch.plugin = plugin end
end


local function open_alert(raw)
  local row = raw.sql.one("SELECT subject, detail FROM alerts WHERE kind = 'payment.doubted'"
    .. " AND state = 'open'")
  return row and json.decode(row.detail) or nil
end


local function told(shop) return shop.count("outbox", "type = 'payment.doubted'") end
local function attempt(raw) return raw.sql.one("SELECT state FROM payment_test_attempts").state end


t.describe("a payment that was given up, whose plugin is gone", function()
  t.it("is told of once, with what to do, and asked for no more", with_doubt(
    function(shop, raw, p)
      local asked, back = without_plugin(raw)
      sweep(raw, 6)
      local detail = open_alert(raw)
      t.equal(detail.payment_id, p.id)
      t.ok(detail.reason:find("payment-test is not loaded", 1, true), detail.reason)
      t.ok(detail.next_step:find("load payment-test again", 1, true), detail.next_step)
      for _ = 1, 3 do sweep(raw, HOUR) end
      t.same({ told(shop), asked() }, { 1, 0 })
      t.ok(open_alert(raw))
      back()
    end))

  t.it("is looked up as soon as it is back, however late, and the alert ends", with_doubt(
    function(shop, raw)
      local _, back = without_plugin(raw)
      sweep(raw, 6)
      sweep(raw, 10 * 24 * HOUR)
      t.equal(attempt(raw), "authorized")
      back()
      sweep(raw, 1)
      t.equal(attempt(raw), "voided")
      sweep(raw, 1)
      t.same({ open_alert(raw), shop.count "payment_doubts", told(shop) }, { nil, 1, 1 })
    end))

  t.it("by the word of staff is told of to nobody, and looked up when it is back", with_doubt(
    function(shop, raw, p)
      local _, back = without_plugin(raw)
      raw.sql.exec "DELETE FROM payment_doubts"
      raw.sql.transaction(function(tx)
        return raw.require("till.store.doubts").add(tx, p.id, true)
      end)
      sweep(raw, 6)
      sweep(raw, HOUR)
      t.same({ told(shop), shop.count "payment_doubts", attempt(raw) }, { 0, 1, "authorized" })
      back()
      sweep(raw, 1)
      t.equal(attempt(raw), "voided")
    end))

  t.it("keeps nobody from what other providers say", with_doubt(function(shop, raw)
    raw.sql.exec("INSERT INTO payments (id, cart_id, provider, state, currency, amount, idem_key,"
      .. " data) SELECT UNHEX(MD5(seq)), cart_id, 'gone', 'failed', 'GBP', 1, seq, '{}'"
      .. " FROM payments, seq_1_to_120")
    raw.sql.exec("INSERT INTO payment_doubts (payment_id, look_at) SELECT id, '2020-01-01'"
      .. " FROM payments WHERE provider = 'gone'")
    sweep(raw, 6)
    t.equal(attempt(raw), "voided")
    sweep(raw, 1)
    sweep(raw, 1)
    t.equal(told(shop), 120)
    raw.sql.exec "UPDATE payments SET state = 'voided' WHERE provider = 'gone'"
    raw.sql.exec "UPDATE payment_doubts SET told = FALSE"
    for _ = 1, 3 do sweep(raw, 1) end
    t.same({ shop.count("payment_doubts"), open_alert(raw), told(shop) }, { 1, nil, 120 })
  end))
end)


t.describe("a payment that was given up, whose provider says nothing", function()
  t.it("is told of after six hours, and looked up until it is known", with_doubt(
    function(shop, raw)
      local say = { outcome = "unknown" }
      local back = answering(raw, say)
      sweep(raw, 6)
      sweep(raw, 5 * HOUR)
      t.equal(open_alert(raw), nil)
      sweep(raw, HOUR)
      t.ok(open_alert(raw).reason:find("for six hours", 1, true), open_alert(raw).reason)
      sweep(raw, HOUR)
      t.equal(told(shop), 1)
      t.equal(shop.count("alerts", "kind = 'payment.doubted' AND times = 1"), 1)
      say.outcome = nil
      sweep(raw, 6)
      sweep(raw, 1)
      back()
      t.same({ attempt(raw), open_alert(raw) }, { "voided", nil })
    end))

  t.it("is left alone once it has become something else", with_doubt(function(shop, raw)
    raw.sql.exec "UPDATE payments SET state = 'refunded'"
    sweep(raw, 6)
    t.same({ shop.count "payment_doubts", attempt(raw) }, { 0, "authorized" })
  end))
end)


t.describe("a doubt that a server of before has marked", function()
  t.it("is taken over as far as it had come, also later, and looked up", with_doubt(
    function(shop, raw)
      raw.sql.exec "DELETE FROM payment_doubts"
      local mark = "UPDATE payments SET data = JSON_MERGE_PATCH(data, ?), updated_at = %s"
      local ago = raw.clock.skip_ms
      raw.sql.exec(mark:format "UTC_TIMESTAMP(3) - INTERVAL 50 HOUR", '{"till":{"doubted":1}}')
      raw.sql.exec "UPDATE payment_test_attempts SET state = 'authorized'"
      sweep(raw, 0)
      t.same({ attempt(raw), raw.sql.one("SELECT looks FROM payment_doubts").looks, ago },
        { "voided", 2, 0 })
      t.equal(shop.count("payments", "JSON_EXISTS(data, '$.till.doubted')"), 0)
      t.equal(shop.count("payments", "JSON_EXISTS(data, '$.token')"), 1)
      raw.sql.exec "DELETE FROM payment_doubts"
      raw.sql.exec(mark:format "UTC_TIMESTAMP(3)", '{"till":{"doubted":0}}')
      sweep(raw, 5)
      t.equal(shop.count "payment_doubts", 0)
      sweep(raw, 61)
      t.same({ shop.count "payment_doubts", raw.sql.one("SELECT looks FROM payment_doubts").looks },
        { 1, 1 })
    end))
end)
