local t = require "till.test"
local box = require "till.prim.box"
local co = require "till.prim.co"
local sql = require "till.prim.sql"


local function ask(text, input, args)
  local answers = assert(box.evaluate { hook = "promo.evaluate", input = input or {},
    rules = { { name = "a", text = text, args = args } }, deadline_ms = 20000 })
  return answers[1]
end


t.describe("till.prim.box", function()
  t.it("runs a rule with its arguments and the input", function()
    local answer = ask([[
      return function(args, input)
        local n = 0
        for _, line in ipairs(input.lines) do n = n + line.quantity end
        return { { id = "x", value = args.percent, total = n } }
      end]], { lines = { { quantity = 2 }, { quantity = 3 } } }, { percent = "12.5" })
    t.same(answer.value, { { id = "x", value = "12.5", total = 5 } })
    t.ok(answer.fuel > 0)
  end)

  t.it("says why a rule failed, and where", function()
    t.same(ask("return function()\n  return +\nend").failure,
      { code = "syntax", message = "unexpected symbol near '+'", line = 2, column = 10 })
    t.same(ask("return 1").failure, { code = "contract", message = "the text returns no function" })
    t.same(ask("return function(_, input)\n  return input.a.b\nend").failure,
      { code = "error", message = "attempt to index field 'a' (a nil value)", line = 2 })
    t.equal(ask("return function() while true do end end").failure.code, "budget")
    t.equal(ask("return function() return 1.5 end").failure.code, "answer")
  end)

  t.it("lets others go on while it is asked again and again", function()
    local turns, is_over = 0, false
    local other = co.waiter()
    co.spawn(function()
      while not is_over do
        assert(sql.one "SELECT 1") -- each is a turn of the loop, or more
        turns = turns + 1
      end
      other:signal(true)
    end)
    for _ = 1, 400 do ask "return function() return 1 end" end
    is_over = true
    assert(other:wait(20000))
    t.ok(turns >= 10, "others had " .. turns .. " turns meanwhile")
  end)

  t.it("names the rule that takes the box with it and answers the others", function()
    local fine = "return function(_, input) return input.n end"
    local answers = assert(box.evaluate { hook = "promo.evaluate", input = { n = 7 }, rules = {
      { name = "one", text = fine },
      { name = "two", text = "local _ for _ in (nil):foo() do end" },
      { name = "three", text = fine },
    } })
    t.equal(answers[1].value, 7)
    t.equal(answers[2].failure.code, "crash")
    t.equal(answers[3].value, 7)
  end)

  t.it("blames nobody where all answers together are too much", function()
    local text = [[return function()
      local out = {}
      for i = 1, 15 do out[i] = ("x"):rep(4000) end
      return out
    end]]
    local rules = {}
    for i = 1, 200 do rules[i] = { name = "r" .. i, text = text } end
    local answers = assert(box.evaluate { hook = "promo.evaluate", input = {}, rules = rules,
      deadline_ms = 20000 })
    t.equal(#answers[1].value, 15)
    t.same({ answers[200].failure.code, answers[200].failure.message:match("^[^:]*") },
      { "answer", "not run" })
    for i = 1, 200 do
      t.ok(answers[i].value or answers[i].failure.code == "answer", "of rule " .. i)
    end
  end)

  t.it("asks in parts where arguments are too much for one exchange", function()
    local fine = "return function(args, input) return { args.n, #args.text, input.n } end"
    local rules = {}
    for i = 1, 100 do
      rules[i] = { name = "r" .. i, text = fine, args = { n = i, text = ("x"):rep(60000) } }
    end
    local answers = assert(box.evaluate { hook = "promo.evaluate", input = { n = 7 },
      rules = rules, deadline_ms = 20000 })
    t.equal(#answers, 100)
    for i = 1, 100 do t.same(answers[i].value, { i, 60000, 7 }) end
  end)

  t.it("checks a text without running its function", function()
    t.ok(box.check { hook = "promo.evaluate", name = "a",
      text = "return function() error('x') end" })
    local ok, failure = box.check { hook = "promo.evaluate", name = "a", text = "return 7" }
    t.same({ ok, failure.code }, { nil, "contract" })
  end)
end)
