-- What reaches the box and what comes of its answers; the box itself has tests of its own.
local t = require "till.test"
local prim = require "tests.support.prim"

local DATE = "2026-06-15T12:00:00.000Z"
local TEN = { level = "order", type = "percent", value = "10" }
local CONF = { ["rules.promo_fuel"] = 1000, ["rules.validate_fuel"] = 2000,
  ["rules.deadline_ms"] = 50 }


local function rule(name, more)
  local out = { name = name, title = name:upper(), hook = "promo.evaluate", version = 1,
    hash = name .. "-hash", text = "return " .. name, args = {}, when = {}, priority = 100 }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end


local function summary()
  return { currency = "GBP", country = "GB", subtotal = 5000, weight_g = 100, codes = {},
    email = "ada@example.org", id = "cart_1",
    lines = { { id = "line_1", sku = "TEA", tags = {}, quantity = 5, unit_price = 1000,
      title = "Tea", weight_g = 20 } } }
end


-- fn(book, world): world.asked are the exchanges with the box, world.answers what it gives by name.
local function with_rules(list, fn)
  local world = { asked = {}, answers = {}, aside = {}, killed = {} }
  local box = {
    evaluate = function(ask)
      world.asked[#world.asked + 1] = ask
      if world.is_away then return nil, world.err("unavailable", "no box") end
      local out = {}
      for i, one in ipairs(ask.rules) do out[i] = world.answers[one.name] or {} end
      return out
    end,
  }
  local guard = { aside = function() return world.aside end,
    is_kill = function(failure) return failure.code == "budget" end,
    killed = function(one) world.killed[#world.killed + 1] = one.name end }
  prim.with({ ["till.prim.box"] = box, ["till.flow.rule_guard"] = guard }, function(fakes, require)
    fakes.conf = CONF
    world.fakes, world.err = fakes, require("till.util.err").new
    local when = require "till.rule.when"
    for _, one in ipairs(list) do one.condition = when.compile(one.when) end
    local book = require "till.flow.rulebook"
    book.setup(list)
    world.case = function(trial) return book.case(summary(), {}, DATE, trial) end
    fn(book, world)
  end)
end


local function counted(world, name)
  local n = 0
  for _, metric in ipairs(world.fakes.metrics) do
    if metric.name == name then n = n + metric.value end
  end
  return n
end


t.describe("the rules of a shop", function()
  t.it("that are none cost nothing", function()
    with_rules({}, function(book, world)
      t.same(book.promotions(world.case()), {})
      t.same(book.objections(world.case()), {})
      t.same({ #world.asked, #world.fakes.metrics }, { 0, 0 })
    end)
  end)

  t.it("are not called where what they declare does not hold", function()
    with_rules({ rule("a", { when = { any_sku = { "POT" } } }),
      rule("b", { when = { min_subtotal = 5001, currency = "GBP" } }),
      rule("c", { starts_at = "2026-06-15T12:00:00.001Z" }),
      rule("d", { ends_at = DATE }),
    }, function(book, world)
      t.same(book.promotions(world.case()), {})
      t.equal(#world.asked, 0)
      t.equal(counted(world, "till_rules_passed_over_total"), 4)
      t.equal(counted(world, "till_rules_called_total"), 0)
    end)
  end)

  t.it("that are left are asked in one exchange", function()
    with_rules({ rule("a"), rule("b", { when = { any_sku = { "POT" } } }),
      rule("c", { starts_at = DATE, args = { n = 1 } }),
      rule("v", { hook = "cart.validate" }) }, function(book, world)
      world.answers.a = { value = { TEN } }
      local answers = book.promotions(world.case())
      t.same({ #answers, answers[1].rule.name, answers[1].value }, { 1, "a", { TEN } })
      t.equal(#world.asked, 1)
      local ask = world.asked[1]
      t.same({ ask.hook, ask.budget, ask.deadline_ms, #ask.rules },
        { "promo.evaluate", 1000, 50, 2 })
      t.same(ask.rules[2], { name = "c", text = "return c", args = { n = 1 } })
    end)
  end)

  t.it("hear nothing of who somebody is, nor what is made anew each time", function()
    with_rules({ rule("a") }, function(book, world)
      book.promotions(world.case())
      local input = world.asked[1].input
      t.same(input, { currency = "GBP", country = "GB", subtotal = 5000, weight_g = 100, codes = {},
        customer = { signed_in = false },
        lines = { { sku = "TEA", title = "Tea", tags = {}, quantity = 5, unit_price = 1000,
          subtotal = 5000, weight_g = 20 } } })
    end)
  end)

  t.it("that fail are passed over, by name, and the others count", function()
    with_rules({ rule("a"), rule("b"), rule("c"), rule("d") }, function(book, world)
      world.answers = { a = { failure = { code = "budget", message = "too long", line = 3 } },
        b = { value = { TEN } }, c = { value = { { level = "order", type = "gift" } } },
        d = { failure = { code = "error", message = "nil", line = 1 } } }
      local answers = book.promotions(world.case())
      t.same({ #answers, answers[1].rule.name }, { 1, "b" })
      t.same(world.killed, { "a" })
      local codes = {}
      for _, line in ipairs(world.fakes.log) do codes[line.fields.rule] = line.fields.code end
      t.same(codes, { c = "answer", d = "error" })
      t.equal(counted(world, "till_rule_failures_total"), 2)
    end)
  end)

  t.it("that were set aside are not called", function()
    with_rules({ rule("a"), rule("b") }, function(book, world)
      world.aside["a-hash"] = "5 kills"
      book.promotions(world.case())
      t.same({ #world.asked[1].rules, world.asked[1].rules[1].name }, { 1, "b" })
      world.aside["b-hash"] = "5 kills"
      t.same(book.promotions(world.case()), {})
      t.equal(#world.asked, 1)
    end)
  end)

  t.it("give nothing while there is no box", function()
    with_rules({ rule("a"), rule("v", { hook = "cart.validate" }) }, function(book, world)
      world.is_away = true
      t.same(book.promotions(world.case()), {})
      local objections, e = book.objections(world.case())
      t.same({ objections, e.code, e.rule }, { nil, "rule_failed", "v" })
    end)
  end)
end)


t.describe("a rule that may object", function()
  local V = { hook = "cart.validate" }

  t.it("is heard, or has nothing against it", function()
    with_rules({ rule("a", V), rule("b", V) }, function(book, world)
      local told = { code = "too_many", message = "Three at most.", pointer = "/lines/0/quantity" }
      world.answers.a = { value = told }
      t.same(book.objections(world.case()), { told })
      t.equal(world.asked[1].budget, 2000)
    end)
  end)

  t.table({
    { why = "keeps the door shut when it is killed", answer = { failure = { code = "budget" } } },
    { why = "keeps the door shut when it throws", answer = { failure = { code = "error" } } },
    { why = "keeps the door shut when it says true", answer = { value = true } },
    { why = "keeps the door shut without a message", answer = { value = { code = "x" } } },
    { why = "keeps the door shut with a pointer to nowhere",
      answer = { value = { code = "x", message = "m", pointer = "lines" } } },
    { why = "keeps the door shut when it is set aside", aside = true },
  }, function(case)
    with_rules({ rule("a", V) }, function(book, world)
      world.answers.a = case.answer
      if case.aside then world.aside["a-hash"] = "5 kills" end
      local objections, e = book.objections(world.case())
      t.same({ objections, e.code }, { nil, "rule_failed" })
      t.ok(e.message:find("A could not be checked", 1, true), e.message)
    end)
  end)

  t.it("does not stand in the way of carts that it does not speak of", function()
    with_rules({ rule("a", { hook = "cart.validate", when = { any_tag = { "wine" } } }) },
      function(book, world)
        world.aside["a-hash"] = "5 kills"
        t.same(book.objections(world.case()), {})
      end)
  end)
end)


t.describe("a trial", function()
  t.it("asks its own rules, counts nothing, and tells what each did", function()
    with_rules({ rule("a") }, function(book, world)
      local tried = rule("b")
      tried.condition = function() end
      world.aside["b-hash"] = "5 kills"
      world.answers.b = { failure = { code = "budget", message = "too long" }, fuel = 1000 }
      local trial = { rules = { tried }, done = {}, subject = "b" }
      t.same(book.promotions(world.case(trial)), {})
      t.same(trial.done.b, { failure = { code = "budget", message = "too long" }, fuel = 1000 })
      t.same({ #world.killed, #world.fakes.metrics, #world.fakes.log }, { 0, 0, 0 })
    end)
  end)
end)
