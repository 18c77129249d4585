-- A claim of an Idempotency-Key that could not be taken back when its request was refused.
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
