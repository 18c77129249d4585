local random = require "tests.support.random"
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local ADDED = { name = "Odd", terms = { level = "order", type = "amount", value = 101,
  currency = "GBP" } }


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. (rest or "") end


-- Three TEA at 9.99 with an odd discount, and shipping; captured unless `open`.
local function make(shop, open, round)
  if (round or 1) == 1 then shop.promotion(ADDED) end
  local cart = shop.cart { { shop.product("TEA" .. (round or ""), 999, 5), 3 } }
  shop.pay(cart, "test", "tok_ok")
  local order = shop.must(shop.complete(cart)).order
  if not open then shop.work() end
  return order
end


local function refund(shop, raw, order, body, key)
  body.reason = body.reason or "sorry"
  return raw.admin("POST", path_of(order, "/refunds"), body, key or shop.key())
end


local function line_of(order, n)
  return { { line_id = order.lines[1].id, quantity = n } }
end


local function gbp(n) return { amount = n, currency = "GBP" } end


local function sums(raw)
  local out = {}
  for _, row in ipairs(raw.sql.query("SELECT account, CAST(SUM(amount) AS SIGNED) AS n"
    .. " FROM ledger_entries GROUP BY account")) do
    if row.n ~= 0 then out[row.account] = row.n end
  end
  return out
end


local function refunded(raw)
  return raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
    .. " FROM payment_test_refunds").n
end


-- The key of the spec has a limit from here on; `owner` and so on are limited by name.
local function limit(shop, raw, amount)
  local own = raw.require("till.http.refund_limits")
  local was = own.of
  own.of = function() return function() return amount end end
  return function() own.of = was end
end


-- Somebody else at the same key.
local function as(raw, name, fn)
  local m = raw.require("till.http.actor")
  local was = m.of
  m.of = function() return name end
  local out = { fn() }
  m.of = was
  return unpack(out)
end


-- A key of these roles, made by `headers` or by the spec's own key. -> status, body
local function key_of(raw, roles, headers)
  local body = { kind = "secret", name = "k", roles = roles }
  return raw.admin("POST", "/admin/v1/keys", body, headers)
end


local function bearer(body)
  return { authorization = "Bearer " .. body.key.key }
end


t.describe("limits of refunds", function()
  t.it("are not escaped by an account that one makes for oneself", with_shop(function(shop, raw)
    shop.must(raw.admin("PUT", "/admin/v1/refund-limits", { limits = {
      { role = "support", currency = "*", amount = 5000 },
      { role = "support", currency = "GBP", amount = 50 },
      { role = "refunds.write", currency = "*", amount = 5000 },
      { role = "orders.write", currency = "*", amount = 10 } } }))
    local mine = bearer(shop.must(key_of(raw, { "support", "staff.*", "keys.*" })))
    for i, case in ipairs {
      { 201, { "support" } }, { 201, { "products.read", "staff.read" } }, { 201, {} },
      { 201, { "orders.write" } },
      { 403, { "refunds.write" }, "GBP" }, { 403, { "orders.write", "refunds.write" }, "GBP" },
      { 403, { "orders.*" }, "any currency" },
    } do
      local roles = require("till.prim.json").array(case[2])
      local status, body = key_of(raw, roles, mine)
      t.equal(status, case[1], "case " .. i)
      if case[3] then
        t.equal(body.errors[1].pointer, "/roles")
        t.ok(body.errors[1].detail:find(case[3], 1, true), body.errors[1].detail)
      end
      t.equal((raw.admin("POST", "/admin/v1/staff", { email = "p" .. i .. "@example.org",
        password = "long enough to be one", roles = roles }, mine)), case[1], "staff " .. i)
    end
    t.equal((key_of(raw, { "refunds.write" })), 201) -- by who has no limit
  end))
end)


t.describe("refunds by staff", function()
  t.it("give back units and shipping that the shopper keeps, to the last penny",
    with_shop(function(shop, raw)
      local order = make(shop)
      local status, body = refund(shop, raw, order, { lines = line_of(order, 2) })
      t.same({ status, body.refund.state }, { 200, "done" })
      local total = body.refund.amount.amount
      status, body = refund(shop, raw, order, { shipping = true })
      t.equal(status, 200)
      total = total + body.refund.amount.amount
      t.equal((refund(shop, raw, order, { shipping = true })), 409)
      status, body = refund(shop, raw, order, { lines = line_of(order, 1) })
      t.equal(status, 200)
      total = total + body.refund.amount.amount
      t.same({ total, refunded(raw) }, { order.total.amount, order.total.amount })
      t.same(sums(raw), {})
      local seen = shop.order(order.id)
      t.same({ seen.payment_status, seen.status, #seen.refunds, seen.lines[1].cancelled_quantity },
        { "refunded", "placed", 3, 0 })
      t.equal(shop.inventory("TEA").on_hand, 2)
      t.equal(shop.count("audit_entries", "action = 'refund.created'"), 3)
    end))

  t.it("refuse what cannot be, and change nothing", with_shop(function(shop, raw)
    local order = make(shop)
    local other = order.lines[1].id:gsub("^line_0", "line_7")
    local total = order.total.amount
    for i, case in ipairs {
      { 422, { amount = gbp(0) } }, { 422, { amount = gbp(-1) } },
      { 409, { amount = gbp(total + 1) } },
      { 422, { amount = { amount = 1, currency = "EUR" } } },
      { 409, { lines = line_of(order, 4) } }, { 422, { lines = line_of(order, 0) } },
      { 409, { lines = { { line_id = other, quantity = 1 } } } }, { 422, {} },
      { 422, { shipping = true, amount = gbp(1) } }, { 422, { amount = gbp(1), reason = "" } },
    } do
      local status = refund(shop, raw, order, case[2])
      t.equal(status, case[1], "case " .. i)
    end
    t.same({ refunded(raw), shop.count("refunds"), shop.count("cancellations") }, { 0, 0, 0 })
    local key = shop.key()
    t.equal((refund(shop, raw, order, { amount = gbp(5) }, key)), 200)
    t.equal((refund(shop, raw, order, { amount = gbp(5) }, key)), 200)
    t.equal((refund(shop, raw, order, { amount = gbp(6) }, key)), 422)
    t.equal(refunded(raw), 5)
  end))

  t.it("are the same after a new login, under the same key", with_shop(function(shop, raw)
    local order = make(shop)
    local who = raw.require("till.flow.access").create_staff { email = "a@example.org",
      password = "long enough for staff", roles = { "manager" } }
    local ids = {}
    for i = 1, 2 do
      local token = assert(raw.require("till.store.sessions").create("staff", who.id, 3600000))
      local body = shop.must(raw.request("POST", path_of(order, "/refunds"),
        { amount = gbp(300), reason = "sorry" },
        { authorization = "Bearer " .. token, ["idempotency-key"] = "his-own-key" }))
      ids[i] = body.refund.id
    end
    t.equal(ids[2], ids[1])
    t.equal(refunded(raw), 300)
  end))

  t.it("of what was not captured is refused", with_shop(function(shop, raw)
    local order = make(shop, true)
    t.equal((refund(shop, raw, order, { amount = gbp(1) })), 409)
    t.equal(shop.count("refunds"), 0)
  end))

  t.it("wait for another person above the limit", with_shop(function(shop, raw)
    local order = make(shop)
    local restore = limit(shop, raw, 500)
    local status, body = refund(shop, raw, order, { amount = gbp(501) })
    t.same({ status, body.refund.state, refunded(raw) }, { 202, "requested", 0 })
    local at = "/admin/v1/refunds/" .. body.refund.id
    t.equal((raw.admin("POST", at .. "/approve", {}, shop.key())), 403) -- himself
    local low = as(raw, "key_other", function()
      return raw.admin("POST", at .. "/approve", {}, shop.key())
    end)
    t.same({ low, refunded(raw) }, { 403, 0 })
    restore()
    local listed = shop.must(raw.admin("GET", "/admin/v1/refunds?state=requested"))
    t.equal(#listed.data, 1)
    local ok, answer = as(raw, "key_other", function()
      return raw.admin("POST", at .. "/approve", {}, shop.key())
    end)
    t.same({ ok, answer.refund.state, answer.refund.decided_by, refunded(raw) },
      { 200, "done", "key_other", 501 })
    local late = as(raw, "key_third", function()
      return raw.admin("POST", at .. "/approve", {}, shop.key())
    end)
    local no = as(raw, "key_third", function()
      return raw.admin("POST", at .. "/reject", { reason = "no" }, shop.key())
    end)
    t.same({ late, no, refunded(raw) }, { 409, 409, 501 })
  end))

  t.it("count what is let go of for them, for a payment that was captured in part",
    with_shop(function(shop, raw)
      local order = make(shop, true)
      local pay = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1].id
      shop.must(raw.admin("POST", "/admin/v1/payments/" .. pay .. "/capture",
        { amount = gbp(40) }, shop.key()))
      local restore = limit(shop, raw, 50)
      local status, body = refund(shop, raw, order, { amount = gbp(order.total.amount) })
      t.same({ status, body.refund and body.refund.state, refunded(raw) }, { 202, "requested", 0 })
      t.equal((refund(shop, raw, order, { amount = gbp(50) })), 200)
      t.equal((refund(shop, raw, order, { amount = gbp(1) })), 202)
      restore()
    end))

  t.it("count what is let go of for them, of several payments", with_shop(function(shop, raw)
    local cart = several.parts_of(shop, raw, 100, "tok_ok", false, "tok_capture_declined")
    local order = shop.must(shop.complete(cart)).order
    shop.work()
    local restore = limit(shop, raw, 50)
    local status = refund(shop, raw, order, { amount = gbp(several.TOTAL - 100) })
    t.same({ status, several.states(raw) }, { 202, { "captured", "authorized" } })
    t.equal((refund(shop, raw, order, { amount = gbp(30) })), 200)
    t.equal((refund(shop, raw, order, { amount = gbp(30) })), 202)
    restore()
  end))

  t.it("that are rejected or too old move nothing", with_shop(function(shop, raw)
    local order = make(shop)
    local restore = limit(shop, raw, 0)
    local _, one = refund(shop, raw, order, { amount = gbp(1) })
    local _, two = refund(shop, raw, order, { shipping = true })
    restore()
    local function decide(r, what)
      return as(raw, "key_other", function()
        return raw.admin("POST", "/admin/v1/refunds/" .. r.refund.id .. what,
          { reason = "no" }, shop.key())
      end)
    end
    t.same({ decide(one, "/reject"), (decide(one, "/approve")) }, { 200, 409 })
    raw.sql.exec("UPDATE refunds SET expires_at = '2020-01-01' WHERE state = 'requested'")
    t.equal((decide(two, "/approve")), 409)
    assert(raw.require("till.store.refunds").expire(10))
    t.same({ refunded(raw), shop.count("refunds", "state = 'expired'") }, { 0, 1 })
  end))

  t.it("bind cancellations and returns to the limit as well", with_shop(function(shop, raw)
    local order = make(shop)
    local restore = limit(shop, raw, 5)
    local status = raw.admin("POST", path_of(order, "/cancel"), {}, shop.key())
    restore()
    t.same({ status, shop.order(order.id).status, refunded(raw) }, { 403, "placed", 0 })
  end))

  t.it("in any order of parts come to what was paid", with_shop(function(shop, raw)
    local rng = random.new(24)
    local function pick(n) return rng.below(n) + 1 end
    for round = 1, 6 do
      local order = make(shop, false, round)
      local before = refunded(raw)
      for _ = 1, 4 do
        local what = pick(4)
        if what == 1 then refund(shop, raw, order, { lines = line_of(order, 1) })
        elseif what == 2 then refund(shop, raw, order, { amount = gbp(pick(900)) })
        elseif what == 3 then refund(shop, raw, order, { shipping = true })
        else
          raw.admin("POST", path_of(order, "/cancel"), { lines = line_of(order, 1) }, shop.key())
        end
      end
      raw.admin("POST", path_of(order, "/cancel"), {}, shop.key()) -- the rest
      local last = shop.order(order.id)
      local left = order.total.amount - (refunded(raw) - before)
      if left > 0 then refund(shop, raw, order, { shipping = true }) end
      t.equal(refunded(raw) - before, order.total.amount, "round " .. round)
      t.equal(shop.order(order.id).payment_status, "refunded", last.status)
      t.same(sums(raw), {}, "round " .. round)
    end
  end))
end)
