local t = require "till.test"
local plugin = dofile("tests/lua/support/plugin.lua")


-- The table as the plugin uses it: rows by key, states moved under a condition.
local function with_provider(fn)
  local rows, slept = {}, {}
  local function by_ref(ref)
    for _, row in pairs(rows) do
      if row.provider_ref == ref then return row end
    end
  end
  local sql = {
    one = function(_, key) return rows[key] or false end,
    exec = function(text, a, b, c, d, e, f)
      if text:find("^INSERT") then
        rows[a] = rows[a] or { provider_ref = b, token = c, state = d, currency = e, amount = f }
      else
        local row = text:find("idem_key") and rows[b] or by_ref(b)
        local from = c or "requires_action"
        if row and row.state == from then row.state = a end
      end
      return { affected = 1 }
    end,
  }
  plugin.with({ sql = sql, sleep = function(ms) slept[#slept + 1] = ms end }, function()
    fn(plugin.handler("payment-test"), plugin.config("payment-test", {}), rows, slept)
  end)
end


local function pay(token, more)
  local out = { payment_id = "pay_1", idem_key = "pay_1", amount = 1000, currency = "GBP",
    data = { token = token } }
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end


t.describe("payment-test", function()
  t.it("answers the same attempt the same way, however often it is sent", function()
    with_provider(function(handler, config)
      local first = handler["payment.authorize"](config, pay "tok_ok")
      t.equal(first.outcome, "authorized")
      t.same(handler["payment.authorize"](config, pay "tok_ok"), first)
    end)
  end)

  t.it("declines, and says why", function()
    with_provider(function(handler, config)
      local answer = handler["payment.authorize"](config, pay "tok_declined")
      t.same({ answer.outcome, answer.reason }, { "declined", "the card was declined" })
    end)
  end)

  t.it("never answers a timeout, and knows of it when looked up", function()
    with_provider(function(handler, config, _, slept)
      t.equal(handler["payment.authorize"](config, pay "tok_timeout").outcome, "unknown")
      t.same(slept, { 60000 })
      t.equal(handler["payment.lookup"](config, pay()).outcome, "authorized")
    end)
  end)

  t.it("knows nothing of a request that was lost", function()
    with_provider(function(handler, config)
      t.equal(handler["payment.authorize"](config, pay "tok_unknown_lost").outcome, "unknown")
      t.equal(handler["payment.lookup"](config, pay()).outcome, "not_found")
    end)
  end)

  t.it("waits for the shopper, by completion or by webhook", function()
    with_provider(function(handler, config, rows)
      local answer = handler["payment.authorize"](config, pay "tok_requires_action")
      t.equal(answer.outcome, "requires_action")
      t.equal(handler["payment.authorize"](config, pay("tok_requires_action",
        { data = { token = "tok_requires_action", action_done = true } })).outcome, "authorized")
      rows.pay_1.state = "requires_action"
      t.equal(handler["webhook.receive"](config, { body = '{"provider_ref":"'
        .. answer.provider_ref .. '"}' }).status, 200)
      t.equal(handler["payment.lookup"](config, pay()).outcome, "authorized")
    end)
  end)

  t.it("captures once, refunds what was captured, voids what was not", function()
    with_provider(function(handler, config)
      handler["payment.authorize"](config, pay "tok_ok")
      local capture = pay("tok_ok", { idem_key = "pay_1-capture" })
      t.equal(handler["payment.capture"](config, capture).outcome, "captured")
      t.equal(handler["payment.capture"](config, capture).outcome, "captured")
      t.equal(handler["payment.void"](config, pay(nil, { idem_key = "pay_1-void" })).outcome,
        "declined")
      t.equal(handler["payment.refund"](config, pay(nil, { idem_key = "pay_1-refund" })).outcome,
        "refunded")
    end)
  end)

  t.it("refuses an option that it does not have", function()
    t.equal(plugin.refusal("payment-test", { latems = 1 }),
      "config.latems: there is no such option; was late_ms meant?")
  end)
end)
