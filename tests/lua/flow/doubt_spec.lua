-- A cart whose payment has no outcome stays as it is, however long that takes: it may be paid for.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local PARK = "UPDATE sagas SET state = 'parked', parked_at = UTC_TIMESTAMP(3), next_at = NULL"


-- What the jobs workers do with it, when its time has come.
local function later(raw, ms)
  raw.clock.skip_ms = raw.clock.skip_ms + ms
  for _, row in ipairs(raw.require("till.store.sagas").stuck(10)) do
    raw.require("till.flow.checkout").resume(row)
  end
end


-- fn(shop, raw, cart, tea): the claim of its completion is over, and nobody knows what became of
-- the payment. The provider has taken it, unless the token says otherwise.
local function with_doubt(fn, token)
  return live.test(function(raw)
    local shop = make_shop(raw)
    local tea = shop.product("TEA", 1000, 5)
    local cart = shop.cart { { tea, 1 } }
    shop.pay(cart, "test", token or "tok_timeout")
    t.equal((shop.complete(cart)), 202)
    raw.clock.skip_ms = 40000
    fn(shop, raw, cart, tea)
  end)
end


local function path_of(cart, more) return "/store/v1/carts/" .. cart .. (more or "") end


local function refused(status, body)
  t.same({ status, body.code }, { 409, "completion_in_progress" })
end


local function is_sold(shop, raw)
  local p = raw.sql.one("SELECT state, order_id IS NOT NULL AS has_order FROM payments")
  t.same({ shop.count("orders"), shop.count("payments"), p.state, p.has_order },
    { 1, 1, "authorized", 1 })
end


local function customer(raw)
  raw.sql.exec("INSERT INTO customers (id, email) VALUES (UNHEX(MD5('c')), 'c@example.org')")
  local id = raw.require "till.util.id"
  return { kind = "customer", customer_id = id.text("cus", raw.sql.one(
    "SELECT id FROM customers").id), key_id = id.text("key", raw.sql.one(
    "SELECT key_id AS k FROM carts").k) }
end


t.describe("a cart whose payment has no outcome", function()
  t.it("is not changed once its claim is over, and becomes the order that was paid for",
    with_doubt(function(shop, raw, cart, tea)
      refused(raw.store("PATCH", path_of(cart), { email = "b@example.org" }))
      refused(raw.store("POST", path_of(cart, "/lines"), { variant_id = tea, quantity = 1 }))
      later(raw, 60000)
      is_sold(shop, raw)
    end))

  t.it("is not changed while it is looked at by somebody who is slower than his claim",
    with_doubt(function(shop, raw, cart)
      local payment = raw.require "till.flow.payment"
      local authorize = payment.authorize
      payment.authorize = function(...)
        payment.authorize = authorize
        raw.clock.skip_ms = raw.clock.skip_ms + 40000
        refused(raw.store("PATCH", path_of(cart), { email = "b@example.org" }))
        return authorize(...)
      end
      t.equal((shop.complete(cart)), 200)
      is_sold(shop, raw)
    end))

  t.it("gets no other payment, and loses none", with_doubt(function(shop, raw, cart)
    refused(shop.pay(cart, "manual"))
    local p = raw.require("till.store.payments").of_cart(cart)[1]
    refused(raw.store("DELETE", path_of(cart, "/payment-sessions/" .. p.id)))
    t.equal((shop.complete(cart)), 200)
    is_sold(shop, raw)
  end))

  t.it("is as it was where staff look after it", with_doubt(function(shop, raw, cart)
    raw.sql.exec(PARK)
    refused(raw.store("PATCH", path_of(cart), { email = "b@example.org" }))
    local status, body = shop.complete(cart)
    t.same({ status, body.type }, { 202, "processing" })
    local saga = raw.sql.one("SELECT id FROM sagas")
    shop.must(raw.admin("POST", ("/admin/v1/sagas/%d/retry"):format(saga.id), { reason = "x" },
      shop.key()))
    later(raw, 1000)
    is_sold(shop, raw)
  end))

  t.it("is opened by staff who say that it was not paid", with_doubt(function(shop, raw, cart)
    raw.sql.exec(PARK)
    local saga = raw.sql.one("SELECT id FROM sagas")
    local p = raw.require("till.store.payments").of_cart(cart)[1]
    shop.must(raw.admin("POST", ("/admin/v1/sagas/%d/resolve"):format(saga.id),
      { as = "undone", reason = "x", payments = raw.require("till.prim.json").array {
        { id = p.id, outcome = "not_found" } } }, shop.key()))
    shop.must(raw.store("PATCH", path_of(cart), { email = "b@example.org" }))
  end, "tok_unknown_lost"))

  t.it("is left alone by a login", with_doubt(function(shop, raw, cart, tea)
    local who, merge = customer(raw), raw.require "till.flow.cart_merge"
    shop.cart { { tea, 1 } } -- its id is made to be the lower one
    raw.sql.exec("UPDATE carts SET id = UNHEX('01') WHERE state = 'open'")
    local older = raw.require("till.util.id").text("cart",
      raw.sql.one("SELECT id FROM carts WHERE state = 'open'").id)
    raw.sql.exec("UPDATE carts SET customer_id = UNHEX(MD5('c'))")
    t.equal(merge.current(who.customer_id).id, older)
    raw.sql.exec("UPDATE carts SET state = 'completed' WHERE state = 'open'")
    t.equal(merge.current(who.customer_id), false)

    local guest = shop.cart { { tea, 2 } }
    t.equal(merge.merge(who, guest).id, guest, "it becomes his own")
    raw.sql.exec("UPDATE carts SET customer_id = NULL WHERE state = 'completing'")
    local merged, e = merge.merge(who, cart)
    t.same({ merged, e.code }, { nil, "completion_in_progress" })
    later(raw, 60000)
    is_sold(shop, raw)
  end))

  t.it("is changed as soon as nobody is at it any more", with_doubt(function(shop, raw, cart)
    raw.sql.exec("UPDATE sagas SET state = 'running', stuck_since = NULL,"
      .. " claimed_until = '2020-01-01'")
    shop.must(raw.store("PATCH", path_of(cart), { email = "b@example.org" }))
  end))

  t.it("is not saved or merged by who read it before it was in doubt", with_doubt(
    function(_, raw, cart)
      local carts, sql = raw.require "till.store.carts", raw.require "till.prim.sql"
      local other = raw.require("till.util.id").new("cus")
      for _, state in ipairs { "waiting", "running", "parked" } do
        raw.sql.exec("UPDATE sagas SET state = ?", state)
        local read = carts.get(cart)
        t.equal(carts.save(nil, read), false)
        sql.transaction(function(tx)
          t.equal(carts.is_still(tx, read), false)
          t.equal(carts.merged(tx, read, read.id, other), false)
          return true
        end)
      end
    end))
end)
