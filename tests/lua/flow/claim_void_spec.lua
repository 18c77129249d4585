-- A claim of an Idempotency-Key that could not be taken back when its request was refused.
local dying = require "tests.support.dying"
local t = require "till.test"
local waiting = require "tests.support.until"
local with_shop = require "tests.support.stock"

local ADJUST = "/admin/v1/inventory/TEA/adjustments"


local function adjust(raw, quantity, key)
  return raw.admin("POST", ADJUST, { set_to = quantity, reason = "counted" },
    { ["idempotency-key"] = key or "void" })
end


-- The database away: nothing is taken back until it is said to be there again.
local function away(raw, code)
  local idem, err = raw.require "till.prim.idem", raw.require "till.util.err"
  local forget, asked = idem.forget, 0
  function idem.forget()
    asked = asked + 1
    return nil, err.new(code or "conn_lost", "spec")
  end
  return function()
    idem.forget = forget
    return asked
  end
end


-- The next adjustment fails so, after its key was claimed.
local function fails(raw, code, fields)
  local inventory, err = raw.require "till.store.inventory", raw.require "till.util.err"
  local was = inventory.adjust
  function inventory.adjust()
    inventory.adjust = was
    return nil, err.new(code, "spec", fields)
  end
end


local function running(shop)
  return shop.count("idempotency_records", "idem_key = 'void' AND state = 'running'")
end


t.describe("a claim that could not be taken back after a 503", function()
  t.it("is in nobody's way who asks again", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    fails(raw, "conn_lost")
    local back = away(raw)
    t.equal((adjust(raw, 9)), 503)
    t.equal(running(shop), 1)
    t.ok(back() > 0)
    local status, body = adjust(raw, 9)
    t.same({ status, body.inventory and body.inventory.on_hand }, { 201, 9 })
    local again, _, headers = adjust(raw, 9)
    t.same({ again, headers["idempotent-replayed"] }, { 201, "true" })
    t.equal(shop.count "stock_events", 2)
  end))

  t.it("is taken back for other workers when the database is there", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    fails(raw, "unavailable")
    local back = away(raw)
    t.equal((adjust(raw, 9)), 503)
    t.equal(running(shop), 1)
    back()
    waiting.eventually("it is taken back", function() return running(shop) == 0 end)
  end))

  t.it("is told as 503 while the database is still away", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    fails(raw, "conn_lost")
    local back = away(raw)
    t.equal((adjust(raw, 9)), 503)
    local status, body, headers = adjust(raw, 9)
    t.same({ status, body.code }, { 503, "conn_lost" })
    t.ok(tonumber(headers["retry-after"]) >= 1)
    back()
    t.equal((adjust(raw, 9)), 201)
  end))

  t.it("of whom somebody has taken over is left to him", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    fails(raw, "conn_lost")
    local back = away(raw)
    t.equal((adjust(raw, 9)), 503)
    raw.sql.exec "UPDATE idempotency_records SET claim = claim + 1 WHERE idem_key = 'void'"
    back()
    local status, body = adjust(raw, 9)
    t.same({ status, body.code }, { 409, "idempotency_in_flight" })
    t.equal(running(shop), 1)
  end))

  t.it("stays where the outcome is not known, or the time was up", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    for _, code in ipairs { "unknown_outcome", "timeout" } do
      raw.sql.exec "DELETE FROM idempotency_records"
      fails(raw, code)
      local back = away(raw)
      t.ok((adjust(raw, 9)) >= 503)
      back()
      local status, body = adjust(raw, 9)
      t.same({ status, body.code }, { 409, "idempotency_in_flight" }, code)
    end
  end))
end)


t.describe("who was not told whether he has claimed his key", function()
  t.it("may ask again at once", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    local idem, err = raw.require "till.prim.idem", raw.require "till.util.err"
    local claim = idem.claim
    function idem.claim(...)
      idem.claim = claim
      local got = assert(claim(...))
      return nil, err.new("conn_lost", "spec", { claim = got.claim })
    end
    local back = away(raw)
    t.equal((adjust(raw, 9)), 503)
    t.equal(running(shop), 1)
    back()
    t.equal((adjust(raw, 9)), 201)
  end))

  t.it("is told its number by the core", with_shop(function(_, raw)
    local idem = raw.require "till.prim.idem"
    local print = idem.fingerprint("POST", "/x", "")
    local got, e = idem.claim("s", ("k"):rep(300), print, 30000)
    t.equal(got, nil)
    t.ok(e.claim > 0 and e.claim % 1 == 0, "a key that the column has no room for")
  end))
end)


-- All that is asked of the database fails from now on.
local function nothing_works(raw)
  local sql, err, was = raw.require "till.prim.sql", raw.require "till.util.err", {}
  for _, name in ipairs { "whole", "transaction", "exec", "one", "query" } do
    was[name] = sql[name]
    sql[name] = function() return nil, err.new("conn_lost", "spec") end
  end
  local back = away(raw)
  return function()
    back()
    for name, fn in pairs(was) do sql[name] = fn end
  end
end


t.describe("a completion that was begun when the database went away", function()
  t.it("is gone on with under its key, and asks for the money once", with_shop(function(shop, raw)
    local cart, key = dying.ready(shop, 1), { ["idempotency-key"] = "void" }
    local payments, works = raw.require "till.store.payments", nil
    local authorize = payments.authorize
    function payments.authorize(...)
      payments.authorize = authorize
      works = nothing_works(raw)
      return authorize(...)
    end
    local first = shop.complete(cart, key)
    t.ok(first == 503 or first == 409, first)
    works()
    local status, body = shop.complete(cart, key)
    t.same({ status, body.code }, { 409, "completion_in_progress" }, "not that it still runs")
    raw.clock.skip_ms = raw.clock.skip_ms + 31000
    t.equal(select(2, shop.complete(cart, key)).type, "order")
    t.same({ shop.count "orders", shop.count "payment_test_attempts", shop.count "payments" },
      { 1, 1, 1 })
  end))
end)


t.describe("a key", function()
  t.it("is of one address and one body, however it is written", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    shop.product("MUG", 1000, 5)
    t.equal((adjust(raw, 9, "one")), 201)
    local function other(path, body, key)
      local status, problem, headers = raw.admin("POST", path, body,
        { ["idempotency-key"] = key or "one" })
      return { status, problem.code, headers["idempotent-replayed"] }
    end
    local body = { set_to = 9, reason = "counted" }
    t.same(other(ADJUST, body, '"one"'), { 201, nil, "true" })
    t.same(other((ADJUST:gsub("TEA", "MUG")), body), { 422, "idempotency_key_reused" })
    t.same(other(ADJUST, { set_to = 8, reason = "counted" }), { 422, "idempotency_key_reused" })
    t.same(other(ADJUST, body, "one, two"), { 400, "idempotency_key_invalid" })
    t.same(other(ADJUST, body, ("k"):rep(256)), { 400, "idempotency_key_invalid" })
    t.same({ shop.inventory("TEA").on_hand, shop.inventory("MUG").on_hand }, { 9, 5 })
  end))

  t.it("that was refused may be used with another body", with_shop(function(shop, raw)
    shop.product("TEA", 1000, 5)
    t.equal((adjust(raw, -1, "one")), 422)
    t.equal((adjust(raw, 7, "one")), 201)
    t.equal(shop.inventory("TEA").on_hand, 7)
  end))

  t.it("whose runner was too slow is another's, and the slow one has changed nothing", with_shop(
    function(shop, raw)
      shop.product("TEA", 1000, 5)
      local inventory = raw.require "till.store.inventory"
      local was, inner = inventory.adjust, nil
      function inventory.adjust(tx, change)
        inventory.adjust = was
        raw.sql.exec "UPDATE idempotency_records SET claimed_until = NOW(3) - INTERVAL 1 SECOND"
        inner = { adjust(raw, 9, "one") }
        return was(tx, change)
      end
      local status, body = adjust(raw, 9, "one")
      t.same({ status, body.code, inner[1] }, { 409, "idempotency_in_flight", 201 })
      local again, _, headers = adjust(raw, 9, "one")
      t.same({ again, headers["idempotent-replayed"] }, { 201, "true" })
      t.same({ shop.inventory("TEA").on_hand, shop.count "stock_events" }, { 9, 2 })
    end))
end)
