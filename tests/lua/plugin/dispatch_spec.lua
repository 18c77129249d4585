local t = require "till.test"
local prim = require "tests.support.prim"


local function plugin(name, hook, fn, config)
  return { name = name, hooks = { hook }, config = config or {}, handlers = { [hook] = fn } }
end


local function with_plugins(plugins, fn)
  prim.with({}, function(fakes, require)
    local dispatch = require "till.plugin.dispatch"
    fakes.runs_turns = true
    dispatch.setup(plugins)
    fn(dispatch, fakes, require("till.util.err"))
  end)
end


t.describe("dispatch", function()
  t.it("asks all in order and leaves out who has nothing to say", function()
    with_plugins({
      plugin("a", "promo.evaluate", function(config, cart)
        return { config.percent + cart.n }
      end, { percent = 5 }),
      plugin("b", "promo.evaluate", function() return nil end),
      plugin("c", "promo.evaluate", function() return {} end),
    }, function(dispatch)
      t.same(dispatch.ask("promo.evaluate", { n = 1 }),
        { { plugin = "a", value = { 6 } }, { plugin = "c", value = {} } })
      t.same(dispatch.names("promo.evaluate"), { "a", "b", "c" })
      t.equal(dispatch.has("promo.evaluate", "b"), true)
      t.equal(dispatch.has("tax.calculate"), false)
    end)
  end)

  t.it("gives each a cart of its own, and nobody's to change", function()
    local seen
    with_plugins({
      plugin("a", "promo.evaluate", function(_, cart)
        cart.lines[1].unit_price, cart.codes[1], cart.lines[2] = 1, "FREE", {}
        return {}
      end),
      plugin("b", "promo.evaluate", function(_, cart)
        seen = cart
        return {}
      end),
    }, function(dispatch)
      local cart = { codes = {}, lines = { { unit_price = 500 } } }
      dispatch.ask("promo.evaluate", cart)
      t.same(cart, { codes = {}, lines = { { unit_price = 500 } } })
      t.same(seen, cart)
    end)
  end)

  t.it("skips a failure where the terms say so, counts it and logs the traceback", function()
    with_plugins({
      plugin("bad", "promo.evaluate", function() error("boom") end),
      plugin("good", "promo.evaluate", function() return { 1 } end),
    }, function(dispatch, fakes)
      t.same(dispatch.ask("promo.evaluate", {}), { { plugin = "good", value = { 1 } } })
      t.ok(fakes.log[1].fields.error:find("boom"))
      local failures = 0
      for _, m in ipairs(fakes.metrics) do
        if m.name == "till_hook_failures_total" then failures = failures + m.value end
      end
      t.equal(failures, 1)
    end)
  end)

  t.it("calls who never waits where it is asked, others in a turn of their own", function()
    for _, waits in ipairs { false, true } do
      local tax = plugin("tax", "tax.calculate", function() return { tax_rates = {} } end)
      tax.waits = waits
      with_plugins({ tax }, function(dispatch, fakes)
        local turns = 0
        fakes.run_turn = (function(run)
          return function()
            turns = turns + 1
            run()
          end
        end)(fakes.run_turn)
        t.same(dispatch.ask("tax.calculate", {}), { tax_rates = {} })
        t.equal(turns, waits and 1 or 0)
      end)
    end
  end)

  t.it("stops at a failure where the terms say so", function()
    with_plugins({
      plugin("tax", "tax.calculate", function() return nil, "away" end),
    }, function(dispatch)
      local value, failure = dispatch.ask("tax.calculate", {})
      t.equal(value, nil)
      t.equal(failure.code, "internal")
    end)
    local asked = 0
    with_plugins({
      plugin("bad", "cart.validate", function() error("boom") end),
      plugin("good", "cart.validate", function() asked = asked + 1 end),
    }, function(dispatch)
      t.equal(dispatch.ask("cart.validate", {}), nil)
      t.equal(asked, 0)
    end)
  end)

  t.it("tells of events to all, then of the failure, so that they come again", function()
    local told = 0
    with_plugins({
      plugin("bad", "order.paid", function() error("boom") end),
      plugin("good", "order.paid", function() told = told + 1 end),
    }, function(dispatch)
      local value, failure = dispatch.ask("order.paid", {})
      t.equal(value, nil)
      t.ok(failure)
      t.equal(told, 1)
    end)
  end)

  t.it("takes no outcome of a payment that the contract does not know", function()
    with_plugins({
      plugin("pay", "payment.authorize", function(_, request)
        return { outcome = request.want }
      end),
    }, function(dispatch)
      t.same(dispatch.plugin("pay", "payment.authorize", { want = "authorized" }),
        { outcome = "authorized" })
      local _, failure = dispatch.plugin("pay", "payment.authorize", { want = "ok" })
      t.equal(failure.code, "internal")
      _, failure = dispatch.plugin("nobody", "payment.authorize", {})
      t.equal(failure.code, "not_found")
    end)
  end)

  t.it("passes an error value on as it is", function()
    with_plugins({
      plugin("pay", "payment.capture", function()
        return nil, require("till.util.err").new("timeout", "the provider is silent")
      end),
    }, function(dispatch)
      local _, failure = dispatch.plugin("pay", "payment.capture", {})
      t.equal(failure.code, "timeout")
      t.equal(failure.retryable, true)
    end)
  end)

  t.it("throws on a hook that does not exist", function()
    with_plugins({}, function(dispatch)
      t.throws(function() dispatch.ask("promo.evalute") end, "there is no hook promo.evalute")
    end)
  end)
end)
