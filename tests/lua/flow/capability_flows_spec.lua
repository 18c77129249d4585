-- What a provider can do: what it changes for shoppers, for staff, and for what the server asks.
local t = require "till.test"
local provider = require "tests.support.provider"
local time = require "till.prim.time"


-- The provider `test` can do what it does, but for `can`.
local function with(can, fn)
  return provider.with(fn, function(name, has)
    for what, value in pairs(name == "test" and can or {}) do has[what] = value end
    return has
  end)
end


local function cart_of(shop, quantity, sku)
  return shop.cart { { shop.product(sku or "TEA", 1000, 5), quantity or 1 } }
end


local function ordered(shop, quantity, is_captured)
  local cart = cart_of(shop, quantity)
  shop.pay(cart, "test", "tok_ok")
  local order = shop.must(shop.complete(cart)).order
  if is_captured then shop.work() end
  return shop.order(order.id)
end


local function offered(shop, raw, cart)
  local list = shop.must(raw.store("GET", "/store/v1/carts/" .. cart .. "/payment-methods")).data
  for _, one in ipairs(list) do
    if one.provider == "test" then return one end
  end
end


local function pay(raw, cart, data)
  return raw.store("POST", "/store/v1/carts/" .. cart .. "/payment-sessions",
    { provider = "test", data = data })
end


local function go_to(shop, raw, cart, country)
  local path = "/store/v1/carts/" .. cart
  shop.must(raw.store("PATCH", path, { shipping_address = { first_name = "Ada",
    last_name = "Byron", address1 = "1 Row", city = "Bath", postal_code = "BA1",
    country = country } }))
  shop.must(raw.store("PATCH", path, { shipping_option_id = "flat:standard" }))
end


local function back(shop, raw, order, what, quantity)
  return raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/" .. what,
    { reason = "not wanted", lines = require("till.prim.json").array {
      { line_id = order.lines[1].id, quantity = quantity } } }, shop.key())
end


local function balance(raw)
  return tonumber(raw.sql.one("SELECT COALESCE(SUM(amount), 0) AS n FROM ledger_entries").n)
end


t.describe("a provider", function()
  t.it("is offered where the amount fits, and no session is begun otherwise",
    with({ max_amount = { GBP = 1500 } }, function(shop, raw)
      t.ok(offered(shop, raw, cart_of(shop)))
      local large = cart_of(shop, 2, "CUP")
      t.equal(offered(shop, raw, large), nil)
      local status, body = pay(raw, large, { token = "tok_ok" })
      t.same({ status, body.code }, { 422, "payment_provider_unknown" })
      t.equal(shop.count("payments"), 0)
    end))

  t.table({
    { why = "is asked again before a cart is paid at once, for it may go elsewhere by now" },
    { why = "is asked again before anything is sent to it, likewise", waits = true },
  }, function(case)
    with({ countries = { "GB" } }, function(shop, raw, _, asked)
      raw.require("till.plugin.dispatch").waits = function() return case.waits or false end
      local cart = cart_of(shop)
      t.equal((pay(raw, cart, { token = "tok_ok" })), 201)
      go_to(shop, raw, cart, "JE")
      local status, body = shop.complete(cart)
      t.same({ status, body.type, body.error.code }, { 200, "cart", "payment_provider_unknown" })
      t.same({ asked["payment.authorize"], shop.count("orders"),
        shop.count("payments", "state = 'created'") }, { nil, 0, 1 })
      t.equal(shop.must(raw.store("GET", "/store/v1/carts/" .. cart)).cart.state, "open")
      t.equal((shop.pay(cart, "manual")), 201)
      t.equal(select(2, shop.complete(cart)).type, "order")
    end)()
  end)

  local confirmed = { countries = { "GB" } }
  t.it("is asked again before a payment is confirmed, at whatever hour", with(confirmed,
    function(shop, raw, _, asked)
      local cart, done = cart_of(shop), { data = { action_done = true } }
      t.equal((pay(raw, cart, { token = "tok_requires_action" })), 201)
      t.equal(select(2, shop.complete(cart)).error.code, "payment_requires_action")
      local before = asked["payment.authorize"]
      go_to(shop, raw, cart, "JE")
      local body = select(2, shop.complete(cart, nil, done))
      t.same({ body.type, body.error.code, asked["payment.authorize"], shop.count("orders") },
        { "cart", "payment_provider_unknown", before, 0 })
      go_to(shop, raw, cart, "GB")
      local hour = tonumber(time.rfc3339(time.now_ms()):sub(12, 13))
      confirmed.hours = { from = ("%02d:00"):format((hour + 2) % 24),
        to = ("%02d:00"):format((hour + 3) % 24), zone = "+00:00" }
      local status, late = pay(raw, cart, { token = "tok_ok" })
      t.same({ status, late.code }, { 422, "payment_provider_unknown" })
      t.equal(select(2, shop.complete(cart, nil, done)).type, "order")
    end))

  t.it("takes the payment where the cart goes there again", with({ countries = { "GB" } },
    function(shop, raw)
      local cart = cart_of(shop)
      t.equal((pay(raw, cart, { token = "tok_ok" })), 201)
      go_to(shop, raw, cart, "JE")
      t.equal(select(2, shop.complete(cart)).type, "cart")
      go_to(shop, raw, cart, "GB")
      t.equal(select(2, shop.complete(cart)).type, "order")
    end))

  t.it("without saved_methods says so, and keeps none", with({ saved_methods = false },
    function(shop, raw)
      local cart = cart_of(shop)
      t.equal(offered(shop, raw, cart).saved_methods, false)
      for _, data in ipairs { { save = true }, { saved_method = "pmt_x" } } do
        local status, body = pay(raw, cart, data)
        t.same({ status, body.detail }, { 422, "test keeps no payment methods" })
      end
      t.equal(shop.count("payments"), 0)
      t.equal((pay(raw, cart, { save = false, token = "tok_ok" })), 201)
    end))

  t.it("without void has an authorization refunded instead", with({ void = false },
    function(shop, raw, say, asked)
      local order = ordered(shop)
      local wanted
      say["payment.refund"] = function(about)
        wanted = about.amount
        return { outcome = "refunded" }
      end
      t.equal((shop.cancel(order.id)), 200)
      local seen = shop.order(order.id)
      t.same({ seen.status, seen.payment_status, seen.payments[1].state },
        { "cancelled", "voided", "voided" })
      t.same({ asked["payment.void"], asked["payment.refund"], wanted, balance(raw) },
        { nil, 1, order.total.amount, 0 })
    end))

  t.it("without partial_refund gives back all or nothing", with({ partial_refund = false },
    function(shop, raw, _, asked)
      local order = ordered(shop, 2, true)
      for _, what in ipairs { "cancel", "refunds" } do
        local status, body = back(shop, raw, order, what, 1)
        t.same({ status, body.code, what }, { 409, "conflict", what })
        t.ok(body.detail:find("all of a payment or nothing", 1, true), body.detail)
      end
      t.same({ asked["payment.refund"], shop.order(order.id).version, shop.count("cancellations") },
        { nil, order.version, 0 })
      t.equal((shop.cancel(order.id)), 200)
      t.equal(shop.order(order.id).payment_status, "refunded")
    end))

  t.it("without partial_capture captures all of what is ordered or nothing",
    with({ partial_capture = false }, function(shop, raw, _, asked)
      local order = ordered(shop, 2)
      local status, body = back(shop, raw, order, "cancel", 1)
      t.same({ status, body.code }, { 409, "conflict" })
      t.ok(body.detail:find("captures all of a payment or nothing", 1, true), body.detail)
      t.equal(shop.order(order.id).version, order.version)
      shop.work()
      t.same({ shop.order(order.id).payment_status, asked["payment.capture"] }, { "captured", 1 })
    end))

  t.it("that takes the money at once is asked for no capture", with({}, function(shop, raw, say,
    asked)
    say["payment.authorize"] = { outcome = "captured", provider_ref = "x" }
    local order = ordered(shop)
    t.equal(order.payment_status, "captured")
    shop.work()
    t.same({ asked["payment.capture"], shop.count("outbox", "type = 'payment.capture'"),
      balance(raw) }, { nil, 0, 0 })
  end))
end)


-- Two events of one subject came in, the later one first.
local function told(raw, order)
  local p = order.payments[1]
  local store = raw.require "till.store.webhooks"
  local function event(id, at_ms)
    return { id = id, type = "refunded", subject = "sub", at_ms = at_ms, body = "{" .. id .. "}" }
  end
  assert(store.insert("payment-test", "webhook", { event("second", 2000), event("first", 1000) }))
  local rows, claim = store.claim(10, 60000)
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = row.id end
  local state = { payment_id = p.id, cart_id = p.cart_id, provider_ref = p.provider_ref,
    amount = p.amount.amount, currency = p.amount.currency, state = "captured",
    events = { { kind = "refunded", amount = 100, reference = "r1" } }, failed = {} }
  local function apply()
    return raw.require("till.flow.webhook_apply").run({ provider = "payment-test", subject = "sub",
      ids = ids, types = { refunded = true }, tries = 1, event_id = "second" }, claim)
  end
  return apply, state
end


t.describe("the callbacks of a provider", function()
  t.table({
    { why = "are shown to its plugin where they are trusted", trusts = true,
      bodies = { "{first}", "{second}" } },
    { why = "are a hint to go and ask, where they are not", trusts = false },
  }, function(case)
    with({ trusts_callbacks = case.trusts }, function(shop, raw, say, asked)
      local order = ordered(shop, 1, true)
      local apply, state = told(raw, order)
      local hint
      say["webhook.apply"] = function(about)
        hint = about
        return state
      end
      t.ok(apply())
      t.same(hint.bodies, case.bodies)
      t.equal(asked["payment.lookup"], nil)
      t.same({ shop.count("payment_events", "kind = 'refunded' AND amount = 100"), balance(raw),
        shop.count("webhook_events", "state = 'applied'") }, { 1, 0, 2 })
    end)()
  end)

  t.it("are held against our payment all the same", with({ trusts_callbacks = true },
    function(shop, raw, say)
      local apply, state = told(raw, ordered(shop, 1, true))
      state.amount = state.amount + 1
      say["webhook.apply"] = state
      t.ok(apply())
      t.same({ shop.count("payment_events", "kind = 'refunded'"),
        shop.count("webhook_events", "state = 'parked'") }, { 0, 2 })
    end))
end)
