-- Money that is held and not captured, until its provider lets go of it.
local t = require "till.test"
local provider = require "tests.support.provider"

local DAY_MS = 86400000
local EXPIRES, LOST = "payment.authorization_expires", "payment.lost_authorization"


-- It holds money for seven days, but where `days` says otherwise.
local function with(fn, days)
  return provider.with(fn, function(name, has)
    local held = days == nil and name == "test" and 7 or days or nil
    has.authorization_days = has.authorization_days or held
    return has
  end)
end


-- An order whose capture nobody has asked for yet; `later`: only staff do.
local function ordered(shop, raw, is_later)
  local cart = shop.cart { { shop.product("TEA", 1000, 5), 1 } }
  shop.pay(cart, "test", "tok_ok")
  local order = shop.must(shop.complete(cart)).order
  if is_later then
    raw.sql.exec "UPDATE payments SET data = JSON_SET(data, '$.till.policy.capture', 'later')"
    raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
  end
  return order
end


local function run(raw)
  local n, e = raw.require("till.flow.authorizations").run()
  if not n then error(e) end
  return n
end


local function later(raw, ms) raw.clock.skip_ms = raw.clock.skip_ms + ms end


local function ms_of(raw, text) return raw.require("till.prim.time").parse(text) end


local function payment_of(shop, order)
  return shop.order(order.id).payments[1]
end


local function alert(raw, kind, state)
  local row = raw.sql.one("SELECT detail, times FROM alerts WHERE kind = ? AND state = ?", kind,
    state or "open")
  return row and raw.require("till.prim.json").decode(row.detail)
end


local function balance(raw)
  return tonumber(raw.sql.one("SELECT COALESCE(SUM(amount), 0) AS n FROM ledger_entries").n)
end


-- An order of which 300 was captured.
local function captured_in_part(shop, raw)
  local order = ordered(shop, raw, true)
  local p = payment_of(shop, order)
  shop.must(raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture",
    { amount = { amount = 300, currency = "GBP" } }, shop.key()))
  return order, order.total.amount - 300
end


t.describe("the rest of what was captured in part", function()
  t.it("is told a day before its end, until it is captured", with(function(shop, raw)
    local order, rest = captured_in_part(shop, raw)
    run(raw)
    later(raw, 6 * DAY_MS - 60000)
    t.same({ run(raw), shop.count("alerts") }, { 0, 0 })
    later(raw, 120000)
    t.same({ run(raw), run(raw) }, { 1, 0 })
    local told = alert(raw, EXPIRES)
    t.same({ told.order_id, told.amount }, { order.id, rest })
    t.equal(payment_of(shop, order).authorization_expires_at, told.authorization_expires_at)
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. told.payment_id .. "/capture", {},
      shop.key()))
    run(raw)
    t.same({ alert(raw, EXPIRES), payment_of(shop, order).authorization_expires_at }, { false })
    later(raw, 2 * DAY_MS)
    t.equal(run(raw), 0)
    t.equal(raw.sql.one("SELECT authorization_look_at AS at FROM payments").at, nil)
  end))

  t.it("counts from the payment where it had no time", with(function(shop, raw)
    captured_in_part(shop, raw)
    raw.sql.exec "UPDATE payments SET authorization_expires_at = NULL"
    t.equal(run(raw), 1)
    later(raw, 6 * DAY_MS + 60000)
    run(raw)
    t.ok(alert(raw, EXPIRES))
  end))

  t.it("that its provider let go of is booked, and staff hear what to do",
    with(function(shop, raw, say)
      local order, rest = captured_in_part(shop, raw)
      run(raw)
      later(raw, 8 * DAY_MS)
      say["payment.lookup"] = { outcome = "captured", captured_amount = 300 }
      t.same({ run(raw), run(raw) }, { 1, 0 })
      local p = payment_of(shop, order)
      t.same({ p.state, p.left_amount.amount, p.released_amount.amount }, { "captured", 0, rest })
      t.equal(alert(raw, LOST).amount, rest)
      t.equal(balance(raw), 0)
    end))

  t.it("is left as it is where the provider knows of more, or says nothing",
    with(function(shop, raw, say)
      local order, rest = captured_in_part(shop, raw)
      run(raw)
      later(raw, 8 * DAY_MS)
      for _, answer in ipairs { { outcome = "captured", captured_amount = 301 },
        { outcome = "captured" }, { outcome = "unknown" }, { outcome = "voided" } } do
        say["payment.lookup"] = answer
        t.equal(run(raw), 1)
        t.equal(payment_of(shop, order).left_amount.amount, rest)
        later(raw, 660000)
      end
      t.equal(alert(raw, LOST), false)
    end))
end)


t.describe("an authorization", function()
  t.it("has an end that staff see at once, as the capability says", with(function(shop, raw)
    local order = ordered(shop, raw, true)
    local p = payment_of(shop, order)
    local authorized = shop.must(raw.admin("GET", "/admin/v1/payments/" .. p.id)).payment
    t.equal(authorized.authorization_expires_at, p.authorization_expires_at)
    local off = ms_of(raw, p.authorization_expires_at) - ms_of(raw, authorized.events[3].at)
    t.ok(math.abs(off - 7 * DAY_MS) < 60000, off)
  end))

  t.it("ends when the provider says, where it does", with(function(shop, raw, say)
    say["payment.authorize"] = { outcome = "authorized", provider_ref = "x",
      expires_at = "2099-01-02T03:04:05Z" }
    t.equal(payment_of(shop, ordered(shop, raw, true)).authorization_expires_at,
      "2099-01-02T03:04:05.000Z")
  end))

  t.it("from before, or of a provider that says so only now, counts from its event",
    with(function(shop, raw)
      local order = ordered(shop, raw, true)
      raw.sql.exec "UPDATE payments SET authorization_expires_at = NULL"
      local was = payment_of(shop, order)
      t.equal(was.authorization_expires_at, nil)
      t.equal(run(raw), 0)
      local p = payment_of(shop, order)
      local events = shop.must(raw.admin("GET", "/admin/v1/payments/" .. p.id)).payment.events
      t.equal(ms_of(raw, p.authorization_expires_at) - ms_of(raw, events[3].at), 7 * DAY_MS)
      t.equal(p.updated_at, was.updated_at)
    end))

  t.it("is told a day before its end, once, until it is captured", with(function(shop, raw, _,
    asked)
    local order = ordered(shop, raw, true)
    t.equal(run(raw), 0)
    later(raw, 6 * DAY_MS - 60000)
    t.same({ run(raw), shop.count("alerts") }, { 0, 0 })
    later(raw, 120000)
    t.same({ run(raw), run(raw) }, { 1, 0 })
    local told = alert(raw, EXPIRES)
    t.same({ told.order_id, told.amount, told.authorization_expires_at },
      { order.id, order.total.amount, payment_of(shop, order).authorization_expires_at })
    t.ok(told.next_step:find("/capture", 1, true), told.next_step)
    t.equal(shop.count("outbox", "type = '" .. EXPIRES .. "'"), 1)
    t.equal(asked["payment.lookup"], nil)
    shop.must(raw.admin("POST", "/admin/v1/payments/" .. told.payment_id .. "/capture", {},
      shop.key()))
    run(raw)
    t.equal(alert(raw, EXPIRES), false)
    t.equal(payment_of(shop, order).authorization_expires_at, nil)
  end))

  t.it("is captured first, where it was to be captured at once", with(function(shop, raw)
    local order = ordered(shop, raw)
    run(raw)
    later(raw, 6 * DAY_MS + 60000)
    t.equal(run(raw), 1)
    t.same({ shop.order(order.id).payment_status, shop.count("alerts") }, { "captured", 0 })
    shop.work()
    t.same({ shop.count("payment_events", "kind = 'captured'"), balance(raw) }, { 1, 0 })
  end))

  t.it("is told of, and not captured, where its capture was refused for good",
    with(function(shop, raw, say, asked)
      ordered(shop, raw)
      say["payment.capture"] = { outcome = "declined", reason = "the card expired" }
      shop.work()
      run(raw)
      later(raw, 6 * DAY_MS + 60000)
      local before = asked["payment.capture"]
      run(raw)
      t.equal(asked["payment.capture"], before)
      t.ok(alert(raw, EXPIRES).next_step:find("refused", 1, true))
    end))

  t.it("that its provider let go of is booked, and staff hear what to do",
    with(function(shop, raw, say)
      local order = ordered(shop, raw, true)
      say["payment.lookup"] = { outcome = "voided" }
      run(raw)
      later(raw, 6 * DAY_MS + 60000)
      run(raw)
      t.equal(payment_of(shop, order).state, "authorized")
      later(raw, DAY_MS)
      t.equal(run(raw), 1)
      local seen = shop.order(order.id)
      t.same({ seen.payments[1].state, seen.payment_status, seen.payments[1].reason,
        balance(raw) }, { "voided", "voided", nil, 0 })
      local line = raw.sql.one "SELECT data, actor FROM order_events WHERE type = 'voided'"
      t.ok(line.data:find("expired", 1, true), line.data)
      t.equal(line.actor, "provider:test")
      local told = alert(raw, LOST)
      t.same({ told.order_id, told.reason, told.amount },
        { order.id, "expired", order.total.amount })
      t.ok(told.next_step:find("cancel", 1, true), told.next_step)
      t.same({ alert(raw, EXPIRES), run(raw), shop.count("payment_events", "kind = 'voided'") },
        { false, 0, 1 })
      t.equal((shop.cancel(order.id)), 200)
      run(raw)
      t.equal(alert(raw, LOST), false)
    end))

  t.it("is concluded from no clock: a provider that says nothing is asked again",
    with(function(shop, raw, say, asked)
      local order = ordered(shop, raw, true)
      say["payment.lookup"] = { outcome = "unknown" }
      run(raw)
      later(raw, 8 * DAY_MS)
      t.same({ run(raw), run(raw), asked["payment.lookup"] }, { 1, 0, 1 })
      later(raw, 660000)
      t.same({ run(raw), asked["payment.lookup"] }, { 1, 2 })
      t.same({ payment_of(shop, order).state, alert(raw, LOST) }, { "authorized", false })
    end))

  t.it("that is held longer than we thought is told of again at its new end",
    with(function(shop, raw, say, asked)
      local order = ordered(shop, raw, true)
      run(raw)
      later(raw, 6 * DAY_MS + 60000)
      run(raw)
      t.ok(alert(raw, EXPIRES))
      later(raw, DAY_MS)
      local now = raw.require "till.prim.time"
      local ends = now.rfc3339(now.now_ms() + 3 * DAY_MS)
      say["payment.lookup"] = { outcome = "authorized", expires_at = ends }
      t.same({ run(raw), run(raw) }, { 1, 0 })
      t.equal(payment_of(shop, order).authorization_expires_at, ends)
      t.equal(alert(raw, EXPIRES), false)
      later(raw, 2 * DAY_MS + 60000)
      t.same({ run(raw), asked["payment.lookup"] }, { 1, 1 })
      t.ok(alert(raw, EXPIRES))
    end))

  t.it("that its provider still holds is left, and looked at again", with(function(shop, raw, say)
    local order = ordered(shop, raw, true)
    run(raw)
    later(raw, 8 * DAY_MS)
    say["payment.lookup"] = { outcome = "authorized", expires_at = "2020-01-01T00:00:00Z" }
    t.same({ run(raw), run(raw) }, { 1, 0 })
    later(raw, 3660000)
    t.same({ run(raw), payment_of(shop, order).state }, { 1, "authorized" })
  end))

  t.it("that was captured there is booked, once", with(function(shop, raw, say)
    local order = ordered(shop, raw, true)
    run(raw)
    later(raw, 8 * DAY_MS)
    say["payment.lookup"] = { outcome = "captured", captured_amount = order.total.amount }
    t.same({ run(raw), run(raw) }, { 1, 0 })
    t.same({ shop.order(order.id).payment_status, balance(raw),
      shop.count("payment_events", "kind = 'captured'") }, { "captured", 0, 1 })
  end))

  t.it("that was captured there with another amount is left to staff", with(function(shop, raw, say)
    local order = ordered(shop, raw, true)
    run(raw)
    later(raw, 8 * DAY_MS)
    say["payment.lookup"] = { outcome = "captured", captured_amount = 1 }
    t.equal(run(raw), 1)
    t.equal(shop.order(order.id).payment_status, "authorized")
  end))

  t.it("that a cancellation has voided is booked by that", with(function(shop, raw, say)
    local order = ordered(shop, raw, true)
    run(raw)
    say["payment.void"], say["payment.lookup"] = { outcome = "unknown" }, { outcome = "unknown" }
    t.equal((shop.cancel(order.id)), 202)
    later(raw, 8 * DAY_MS)
    say["payment.lookup"] = { outcome = "voided" }
    t.equal(run(raw), 1)
    t.same({ payment_of(shop, order).state, alert(raw, LOST) }, { "authorized", false })
  end))

  t.it("of a provider without `authorization_days` never ends by itself",
    with(function(shop, raw, say, asked)
      local order = ordered(shop, raw, true)
      say["payment.lookup"] = { outcome = "voided" }
      later(raw, 400 * DAY_MS)
      t.same({ run(raw), asked["payment.lookup"] }, { 0, nil })
      local p = payment_of(shop, order)
      t.same({ p.state, p.authorization_expires_at }, { "authorized", nil })
    end, false))
end)
