-- What staff do about money, and about who may, is written down with it: who, what, about which, in
-- which request. A route that is new and changes something has to stand here.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local WATCHED = { payments = true, refunds = true, webhooks = true, sagas = true, staff = true,
  keys = true }
local REASON = { reason = "spec" }

-- "METHOD path" -> fn(s) -> path, body, action, subject
local CASES = {}


local function bought(s, captured)
  local cart = s.shop.cart { { s.shop.product("TEA", 999, 5), 1 } }
  s.shop.pay(cart, "test", "tok_ok")
  local order = s.shop.must(s.shop.complete(cart)).order
  if captured then s.shop.work() end
  return order, s.shop.must(s.raw.admin("GET", "/admin/v1/payments")).data[1].id
end


-- At the provider, of a cart that never became an order.
local function alone(s)
  local cart = s.shop.cart { { s.shop.product("TEA", 999, 5), 1 } }
  local p = assert(s.raw.require("till.store.payments").create(nil, { cart_id = cart.id,
    provider = "test", currency = "GBP", amount = 999, data = { token = "tok_ok" } }))
  assert(s.raw.require("till.flow.payment").authorize(p, {}))
  return p.id
end


-- Asked for by somebody who may not do it alone.
local function requested(s)
  local order = bought(s, true)
  local limits, actor = s.raw.require "till.http.refund_limits", s.raw.require "till.http.actor"
  local of, who = limits.of, actor.of
  limits.of = function() return function() return 0 end end
  actor.of = function() return "key_another" end
  local status, body = s.raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/refunds",
    { amount = { amount = 100, currency = "GBP" }, reason = "spec" }, s.shop.key())
  limits.of, actor.of = of, who
  t.equal(status, 202)
  return body.refund.id
end


-- A refund that the provider refuses.
local function parked(s)
  local order = bought(s, true)
  s.raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided'")
  t.equal((s.raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", REASON,
    s.shop.key())), 202)
  return s.shop.must(s.raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1].id
end


CASES["POST /admin/v1/payments/{id}/capture"] = function(s)
  local _, id = bought(s)
  return "/admin/v1/payments/" .. id .. "/capture", {}, "payment.capture", id
end

CASES["POST /admin/v1/payments/{id}/lookup"] = function(s)
  local id = alone(s)
  s.raw.sql.exec("UPDATE payments SET state = 'unknown'")
  return "/admin/v1/payments/" .. id .. "/lookup", {}, "payment.lookup", id
end

CASES["POST /admin/v1/payments/{id}/void"] = function(s)
  local id = alone(s)
  return "/admin/v1/payments/" .. id .. "/void", REASON, "payment.void", id
end

CASES["POST /admin/v1/payments/{id}/resolve"] = function(s)
  local id = alone(s)
  s.raw.sql.exec("DELETE FROM payment_events WHERE kind = 'authorized'")
  s.raw.sql.exec("UPDATE payments SET state = 'unknown'")
  s.provider_says = "unknown"
  return "/admin/v1/payments/" .. id .. "/resolve", { as = "captured", reason = "spec" },
    "payment.resolve", id
end

CASES["POST /admin/v1/settlements"] = function(s)
  s.raw.require("till.plugin.dispatch").has = function() return true end
  return "/admin/v1/settlements", { provider = "test", from = "2026-01-01T00:00:00Z",
    to = "2026-01-02T00:00:00Z" }, "settlement.begin"
end

CASES["POST /admin/v1/orders/{id}/refunds"] = function(s)
  local order = bought(s, true)
  return "/admin/v1/orders/" .. order.id .. "/refunds", { reason = "spec",
    amount = { amount = 100, currency = "GBP" } }, "refund.created"
end

CASES["POST /admin/v1/refunds/{id}/approve"] = function(s)
  local id = requested(s)
  return "/admin/v1/refunds/" .. id .. "/approve", REASON, "refund.approved", id
end

CASES["POST /admin/v1/refunds/{id}/reject"] = function(s)
  local id = requested(s)
  return "/admin/v1/refunds/" .. id .. "/reject", REASON, "refund.rejected", id
end

CASES["PUT /admin/v1/refund-limits"] = function()
  return "/admin/v1/refund-limits", { limits = { { role = "support", currency = "*",
    amount = 5000 } } }, "refund.limits", "refunds.limits"
end

CASES["POST /admin/v1/webhooks/{id}/replay"] = function(s)
  assert(s.raw.require("till.store.webhooks").insert("payment-test", "webhook", { { id = "evt_1",
    type = "x", subject = "pi_1", at_ms = 0, body = "{}" } }))
  local id = s.raw.sql.one("SELECT id FROM webhook_events").id
  return "/admin/v1/webhooks/" .. id .. "/replay", REASON, "webhook.replay", "webhook:" .. id
end

CASES["POST /admin/v1/sagas/{id}/retry"] = function(s)
  local id = parked(s)
  return ("/admin/v1/sagas/%d/retry"):format(id), REASON, "saga.retry", "saga:" .. id
end

CASES["POST /admin/v1/sagas/{id}/resolve"] = function(s)
  local id = parked(s)
  return ("/admin/v1/sagas/%d/resolve"):format(id), { as = "done", reason = "spec" },
    "saga.resolve", "saga:" .. id
end


local PERSON = { email = "new@example.org", name = "New", password = "letters and 1",
  roles = { "support" } }
local KEY = { name = "Window", kind = "publishable" }

CASES["POST /admin/v1/staff"] = function()
  return "/admin/v1/staff", PERSON, "staff.create"
end

CASES["DELETE /admin/v1/staff/{id}"] = function(s)
  local id = s.shop.must(s.raw.admin("POST", "/admin/v1/staff", PERSON)).staff.id
  return "/admin/v1/staff/" .. id, nil, "staff.disable", id
end

CASES["POST /admin/v1/keys"] = function()
  return "/admin/v1/keys", KEY, "key.create"
end

CASES["PATCH /admin/v1/keys/{id}"] = function(s)
  local id = s.shop.must(s.raw.admin("POST", "/admin/v1/keys", KEY)).key.id
  return "/admin/v1/keys/" .. id, { hold_minutes = 20 }, "key.update", id
end

CASES["DELETE /admin/v1/keys/{id}"] = function(s)
  local id = s.shop.must(s.raw.admin("POST", "/admin/v1/keys", KEY)).key.id
  return "/admin/v1/keys/" .. id, nil, "key.revoke", id
end


-- Those that change something, of these tags.
local function watched()
  local out = {}
  for _, module in ipairs(require "till.http.routes") do
    local routes = require(module)
    if type(routes) == "function" then routes = routes() end
    for _, one in ipairs(routes) do
      if one.auth == "admin" and one.method ~= "GET" and WATCHED[one.tag] then
        out[#out + 1] = one.method .. " " .. one.path
      end
    end
  end
  table.sort(out)
  return out
end


local function keys_of(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end


-- The provider answers `s.provider_says` where that is set.
local function with_shop(fn)
  return live.test(function(raw)
    local s = { raw = raw, shop = make_shop(raw) }
    local dispatch = raw.require "till.plugin.dispatch"
    local plugin = dispatch.plugin
    dispatch.plugin = function(...)
      if s.provider_says then return { outcome = s.provider_says } end
      return plugin(...)
    end
    fn(s)
  end)
end


t.describe("the audit of money and of access", function()
  t.it("knows every route by which staff change something of it", function()
    t.same(watched(), keys_of(CASES))
  end)

  for _, name in ipairs(keys_of(CASES)) do
    t.it("holds " .. name, with_shop(function(s)
      local path, body, action, subject = CASES[name](s)
      s.raw.sql.exec("DELETE FROM audit_entries")
      local headers = s.shop.key()
      local status, answer = s.raw.admin(name:match "^%S+", path, body, headers)
      t.ok(status < 300, ("%d %s"):format(status, answer and answer.detail or ""))
      local rows = s.raw.sql.query("SELECT actor, action, subject, request_id FROM audit_entries")
      t.equal(#rows, 1)
      t.same({ rows[1].action, rows[1].request_id }, { action, "r" })
      t.ok(rows[1].actor:find "^key_", rows[1].actor)
      if subject then t.equal(rows[1].subject, subject) end
    end))
  end
end)
