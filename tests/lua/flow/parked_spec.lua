local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- The provider has the money, or never heard of it, and does not say which.
local function silent(raw, is_silent)
  local dispatch = raw.require "till.plugin.dispatch"
  dispatch.was = dispatch.was or dispatch.plugin
  dispatch.plugin = is_silent and function(name, hook, ...)
    if hook == "payment.lookup" then return { outcome = "unknown" } end
    return dispatch.was(name, hook, ...)
  end or dispatch.was
end


-- As a jobs worker does, so long after.
local function later(raw, ms)
  raw.clock.skip_ms = raw.clock.skip_ms + ms
  local checkout, n = raw.require "till.flow.checkout", 0
  for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
    checkout.resume(row)
    n = n + 1
  end
  return n
end


local function parked_sagas(shop, raw)
  return shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data
end


local function with_waiting(token, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 1000, 5), 2 } }
      shop.pay(cart, "test", token)
      silent(raw, true)
      t.equal((shop.complete(cart)), 202)
      fn(shop, raw, cart)
      silent(raw, false)
    end)
  end
end


-- Looked at until it is parked; how often that was.
local function park(shop, raw)
  local looks = 0
  while #parked_sagas(shop, raw) == 0 do
    t.ok(looks < 30, "it is never parked")
    looks = looks + later(raw, 700000)
  end
  return looks
end


local function with_parked(token, fn)
  return with_waiting(token, function(shop, raw, cart)
    park(shop, raw)
    fn(shop, raw, cart, parked_sagas(shop, raw)[1])
  end)
end


local function act(shop, raw, saga, what, body)
  return raw.admin("POST", ("/admin/v1/sagas/%d/%s"):format(saga.id, what), body, shop.key())
end


t.describe("a checkout without an outcome", function()
  t.it("is parked after so long, and not because a shopper polls", with_waiting("tok_timeout",
    function(shop, raw, cart)
      for _ = 1, 30 do t.equal((shop.complete(cart)), 202) end
      t.equal(#parked_sagas(shop, raw), 0)
      local looks = park(shop, raw)
      t.ok(looks >= 2, looks)
      local saga = parked_sagas(shop, raw)[1]
      t.same({ saga.name, saga.aggregate, saga.step, saga.steps_done, saga.data.email },
        { "checkout", cart, "authorize", 1, "a***@example.org" })
      t.ok(saga.error:find("unknown_outcome", 1, true), saga.error)
      t.equal(saga.data.head, nil)
      t.equal(later(raw, 1000000), 0)
      local history = shop.must(raw.admin("GET", "/admin/v1/sagas/" .. saga.id)).saga.history
      t.equal(history[#history].type, "parked")
      t.ok(#history >= 3 and #history <= looks + 2, #history)
    end))

  t.it("is parked after so many attempts", with_waiting("tok_timeout", function(shop, raw)
    local looks = 0
    while #parked_sagas(shop, raw) == 0 do
      local due = raw.sql.one("SELECT tries FROM sagas").tries
      looks = looks + later(raw, 1000 * 2 ^ (due + 1))
      t.ok(looks < 30, "it is never parked")
    end
    t.equal(looks, 11) -- and the completion itself
  end))

  -- Nearly given up, and looked at for long; then the provider answers, and what is done next fails
  -- once.
  local function goes_on(raw, shop, provider_says, module, name, code)
    raw.sql.exec("UPDATE sagas SET tries = 10, stuck_since = '2020-01-01'")
    raw.sql.exec("UPDATE payment_test_attempts SET state = ?", provider_says)
    silent(raw, false)
    local m = raw.require(module)
    local was = m[name]
    m[name] = function()
      m[name] = was
      return nil, raw.require("till.util.err").new(code, "spec")
    end
    later(raw, 60000)
    local row = raw.sql.one("SELECT state, tries, stuck_since FROM sagas")
    t.same({ row.state, row.tries, row.stuck_since > "2021" }, { "waiting", 0, true })
    later(raw, 60000)
    t.equal(#parked_sagas(shop, raw), 0)
  end

  t.it("has its attempts anew at the next step", with_waiting("tok_timeout", function(shop, raw)
    goes_on(raw, shop, "authorized", "till.flow.place", "run", "unknown_outcome")
    t.equal(shop.count("orders"), 1)
  end))

  t.it("has its attempts anew where it turns back", with_waiting("tok_timeout",
    function(shop, raw)
      goes_on(raw, shop, "declined", "till.store.reservations", "release", "internal")
      t.equal(shop.count("sagas", "state = 'undone'"), 1)
    end))

  t.it("is parked when everybody who ran it died", with_waiting("tok_timeout",
    function(shop, raw)
      raw.sql.exec("UPDATE sagas SET state = 'running', tries = 12, claimed_until = '2020-01-01'")
      later(raw, 60000)
      t.equal(#parked_sagas(shop, raw), 1)
    end))

  t.it("is told to the shopper as being looked after", with_parked("tok_timeout",
    function(shop, raw, cart)
      raw.sql.exec("UPDATE carts SET claimed_until = '2020-01-01'")
      local status, body = raw.store("PATCH", "/store/v1/carts/" .. cart,
        { email = "b@example.org" })
      t.same({ status, body.code }, { 409, "completion_in_progress" })
      t.equal((shop.pay(cart, "test", "tok_ok")), 409)
      status, body = shop.complete(cart)
      t.same({ status, body.type }, { 202, "processing" })
      t.equal(shop.count("payment_test_attempts"), 1)
    end))

  t.it("becomes an order when it is retried, with its story in the timeline",
    with_parked("tok_timeout", function(shop, raw, cart, saga)
      silent(raw, false)
      shop.must(act(shop, raw, saga, "retry", { reason = "the provider answers again" }))
      later(raw, 1000)
      local order = raw.require("till.store.orders").of_cart(cart)
      t.equal(order.payment_status, "authorized")
      t.same({ shop.count("payment_test_attempts"), shop.inventory("TEA").on_hand }, { 1, 3 })
      local seen = {}
      for _, e in ipairs(shop.must(raw.admin("GET",
        "/admin/v1/orders/" .. order.id .. "/timeline")).data) do seen[e.type] = e.actor_kind end
      t.same({ seen.checkout_parked, seen.checkout_retried, seen.placed },
        { "system", "key", "shopper" })
    end))
end)


t.describe("a parked checkout that is resolved by hand", function()
  t.it("is not undone where the provider has the money", with_parked("tok_timeout",
    function(shop, raw, cart, saga)
      local payment = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1]
      silent(raw, false)
      local status, problem = act(shop, raw, saga, "resolve", { as = "undone", reason = "gone",
        payments = { { id = payment.id, outcome = "not_found" } } })
      t.same({ status, problem.code }, { 409, "conflict" })
      t.ok(problem.detail:find("authorized", 1, true), problem.detail)
      t.equal(raw.require("till.store.carts").get(cart).state, "completing")
    end))

  t.it("is undone by the word of staff where the provider says nothing", with_parked("tok_timeout",
    function(shop, raw, cart, saga)
      local status, problem = act(shop, raw, saga, "resolve", { as = "undone", reason = "gone" })
      t.same({ status, problem.code }, { 409, "conflict" })
      local payment = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1]
      shop.must(act(shop, raw, saga, "resolve", { as = "undone", reason = "not in their pages",
        payments = { { id = payment.id, outcome = "not_found" } } }))
      t.same({ shop.inventory("TEA").reserved, raw.require("till.store.carts").get(cart).state,
        shop.must(raw.admin("GET", "/admin/v1/payments")).data[1].state }, { 0, "open", "failed" })
      t.equal((act(shop, raw, saga, "resolve", { as = "undone", reason = "again" })), 409)
      local entry = shop.must(raw.admin("GET", "/admin/v1/audit")).data[1]
      t.same({ entry.action, entry.subject, entry.detail.payments[1].outcome },
        { "saga.resolve", "saga:" .. saga.id, "not_found" })
      t.equal(shop.count "payment_doubts", 1, "it is looked up all the same")
      silent(raw, false)
      shop.pay(cart, "test", "tok_ok")
      t.equal((select(2, shop.complete(cart))).type, "order")
    end))

  t.it("is done with the order of its cart alone", with_parked("tok_timeout",
    function(shop, raw, cart, saga)
      local other = shop.cart { { shop.product("POT", 500, 5), 1 } }
      shop.pay(other)
      local _, bought = shop.complete(other)
      local status, problem = act(shop, raw, saga, "resolve", { as = "done", reason = "it is there",
        order_id = bought.order.id })
      t.same({ status, problem.code }, { 409, "conflict" })
      -- As after a database that was put back in parts: the order is there, the saga is not over.
      raw.sql.exec("UPDATE orders SET cart_id = ? WHERE id = ?",
        raw.require("till.store.db").bin("cart", cart),
        raw.require("till.store.db").bin("ord", bought.order.id))
      status = act(shop, raw, saga, "resolve", { as = "done", reason = "it is there",
        order_id = bought.order.id })
      t.equal(status, 409, "its payment may be money")
      raw.sql.exec("UPDATE payments SET state = 'voided' WHERE state = 'unknown'")
      shop.must(act(shop, raw, saga, "resolve", { as = "done", reason = "it is there",
        order_id = bought.order.id }))
      t.equal(shop.count("sagas", "state <> 'done'"), 0)
    end))

  t.it("needs the right to it", with_parked("tok_timeout", function(shop, raw, _, saga)
    local _, text = raw.require("till.store.keys").create { kind = "secret", name = "r",
      roles = { "viewer" } }
    local as = { authorization = "Bearer " .. text, ["idempotency-key"] = "x" }
    t.equal((raw.request("GET", "/admin/v1/sagas/" .. saga.id, nil, as)), 200)
    t.equal((raw.request("POST", ("/admin/v1/sagas/%d/retry"):format(saga.id), { reason = "x" },
      as)), 403)
    t.equal((raw.admin("GET", "/admin/v1/sagas/999999")), 404)
    t.equal((act(shop, raw, { id = 999999 }, "retry", { reason = "x" })), 404)
    t.equal((raw.admin("GET", "/admin/v1/sagas?state=lost")), 422)
  end))
end)
