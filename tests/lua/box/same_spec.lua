-- The same rule on the same cart gives the same answer for the same fuel: today, tomorrow, in
-- whichever process.
local t = require "till.test"
local box = require "till.prim.box"
local boxed = require "tests.support.boxed"

local of, run, try = boxed.of, boxed.run, boxed.try

local CRASH = "local _ for _ in (nil):foo() do end"


t.describe("what does not tell of the machine", function()
  try {
    { why = "the text of a table", text = of "tostring({})", is = "table" },
    { why = "the text of a function", text = of "tostring(pairs)", is = "function" },
    { why = "the text of a table by format", text = of "('%s'):format({})", is = "table" },
    { why = "%p", text = of "('%p'):format({})", code = "error", says = "knows" },
    { why = "%q", text = of "('%q'):format('a')", code = "error", says = "knows" },
    { why = "%a", text = of "('%a'):format(1)", code = "error", says = "knows" },
    { why = "the width of a format", text = of "('%999d'):format(1)", code = "error",
      says = "two digits" },
    { why = "the precision of a format", text = of "('%.123f'):format(1)", code = "error",
      says = "two digits" },
    { why = "no number", text = of "tostring(0 / 0) .. tostring(-(0 / 0))", is = "nannan" },
    { why = "no number, formatted", text = of "('%d'):format(0 / 0)", code = "error",
      says = "whole" },
    { why = "infinity, formatted", text = of "('%.2f %g'):format(1 / 0, -1 / 0)", is = "inf -inf" },
    { why = "a number too large for %d", text = of "('%d'):format(1e300)", code = "error",
      says = "whole" },
    { why = "a format without its argument", text = of "('%d'):format()", code = "error",
      says = "no value" },
    { why = "a format that ends with %", text = of "('%'):format()", code = "error" },
    { why = "a long text as a number", text = of "tonumber(('1'):rep(200)) == nil", is = true },
    { why = "case follows no locale", text = of "('\\195\\164'):upper() == '\\195\\164'",
      is = true },
    { why = "order follows no locale", text = of "'Z' < 'a'", is = true },
    { why = "classes follow no locale", text = of "('\\228'):find('%a') == nil", is = true },
  }
end)


t.describe("the order of keys", function()
  local KEYS = { "b", "a", "z", "m", "aa", "k10", "k9", "B" }

  -- The same keys, put in in another order and with others between that go again.
  local function keys_in_order(order)
    local statements = { "local t = {}" }
    for i, at in ipairs(order) do
      statements[#statements + 1] = ("t.x%d = 1 t['%s'] = %d t.x%d = nil"):format(i * 7, KEYS[at],
        at, i * 7)
    end
    statements[#statements + 1] = "t[2], t[1], t[true], t[1.5] = 1, 1, 1, 1"
    statements[#statements + 1] = "local out = {} for key in pairs(t) do out[#out + 1] = "
      .. "tostring(key) end return out"
    return run(table.concat(statements, "\n"))
  end

  local SORTED = { "1", "1.5", "2", "B", "a", "aa", "b", "k10", "k9", "m", "z", "true" }

  try {
    { why = "is theirs, not the table's history's",
      text = keys_in_order { 1, 2, 3, 4, 5, 6, 7, 8 }, is = SORTED },
    { why = "is the same backwards", text = keys_in_order { 8, 7, 6, 5, 4, 3, 2, 1 }, is = SORTED },
    { why = "is next's too", text = run [[local t, out = { b = 1, a = 2, [3] = 1, c = 3 }, {}
      local key = next(t)
      while key do out[#out + 1] = tostring(key) key = next(t, key) end
      return out]], is = { "3", "a", "b", "c" } },
    { why = "tables have none", text = run "for _ in pairs({ [{}] = 1 }) do end", code = "error",
      says = "no order" },
    { why = "functions have none", text = run "return next({ [next] = 1 }, 1)", code = "error",
      says = "no order" },
    { why = "what goes during a loop is passed over",
      text = run [[local t, n = { a = 1, b = 2, c = 3 }, 0
      for key in pairs(t) do t.c = nil n = n + 1 end return n]], is = 2 },
    { why = "what comes during a loop is not seen", text = run [[local t, n = { a = 1 }, 0
      for key in pairs(t) do t['x' .. n] = 1 n = n + 1 end return n]], is = 1 },
    { why = "next of nothing", text = of "next({}) == nil", is = true },
  }
end)


t.describe("sorting", function()
  try {
    { why = "keeps equals in their order", text = run [[local t = {}
      for i = 1, 50 do t[i] = { key = i % 3, at = i } end
      table.sort(t, function(a, b) return a.key < b.key end)
      for i = 2, 50 do
        if t[i].key == t[i - 1].key and t[i].at < t[i - 1].at then return false end
      end
      return true]], is = true },
    { why = "ends with a comparator without sense", text = run [[local t, n = {}, 0
      for i = 1, 100 do t[i] = i end
      table.sort(t, function() n = n + 1 return n % 3 == 0 end)
      local sum = 0 for _, x in ipairs(t) do sum = sum + x end return sum]], is = 5050 },
    { why = "compares texts by their bytes",
      text = of "(function(t) table.sort(t) return t end)({ 'b', 'B', 'a', '\195\164' })",
      is = { "B", "a", "b", "\195\164" } },
    { why = "does not compare what has no order", text = of "table.sort({ 1, 'a' })",
      code = "error", says = "compare" },
    { why = "of one, of none", text = run "table.sort({}) table.sort({ 1 }) return true",
      is = true },
  }
end)


t.describe("an answer and its fuel", function()
  local RULE = [[
    local made = {}
    return function(args, input)
      local seen = {}
      for key, value in pairs(input) do seen[#seen + 1] = key .. '=' .. tostring(value) end
      for i = 1, 100 do made['k' .. i] = { i } end
      return { table.concat(seen, ','), #made, tostring(made), ('%.3f'):format(args.x / 3) }
    end]]
  local INPUT, ARGS = { b = 1, a = "x", c = true, [("long"):rep(20)] = 2 }, { x = 10 }

  local function outcome()
    local answer = boxed.ask(RULE, INPUT, ARGS)
    return { value = assert(answer.value, answer.failure), fuel = answer.fuel }
  end

  local first

  t.it("are the same a hundred times", function()
    first = outcome()
    for _ = 1, 100 do t.same(outcome(), first) end
  end)

  t.it("are the same after rules that failed in all ways", function()
    for _, text in ipairs { run "while true do end", run "error('x')", "return (",
      run "return 1 / 0",
      run "local t = {} for i = 1, 1e6 do t[i] = {} end",
        run "local function f() return 1 + f() end f()" } do
      boxed.ask(text)
      t.same(outcome(), first)
    end
  end)

  t.it("are the same in another box", function()
    t.equal(boxed.ask(CRASH).failure.code, "crash")
    t.same(outcome(), first)
  end)

  t.it("are the same beside others, before and behind them", function()
    local others = { name = "other",
      text = run "x = 1 string.rep = nil local t = {} for i = 1, 999 do t['a' .. i] = i end" }
    local mine = { name = "mine", text = RULE, args = ARGS }
    local answers = assert(box.evaluate { hook = "promo.evaluate",
      input = INPUT, rule_ms = 5000, deadline_ms = 20000,
      rules = { mine, others, mine, others, others, mine } })
    for _, i in ipairs { 1, 3, 6 } do
      t.same({ value = answers[i].value, fuel = answers[i].fuel }, first, "rule " .. i)
    end
  end)

  t.it("garbage that was collected is no clock", function()
    local weak = run [[local t = setmetatable({}, { __mode = 'v' })
      for i = 1, 2000 do t[i] = {} end
      local n = 0 for i = 1, 2000 do if t[i] then n = n + 1 end end return n]]
    local n = boxed.ask(weak).value
    boxed.ask(CRASH)
    for _ = 1, 20 do t.equal(boxed.ask(weak).value, n) end
  end)
end)


t.describe("the deadline", function()
  t.it("ends what its budget would let run", function()
    local failure = boxed.ask(run "while true do end", {}, {}, { budget = 1e12,
      rule_ms = 5 }).failure
    t.equal(failure.code, "deadline")
  end)

  t.it("of the exchange replaces a box that does not answer", function()
    local failure = boxed.ask(run "while true do end", {}, {},
      { budget = 1e12, rule_ms = 60000, deadline_ms = 50 }).failure
    t.same({ failure.code, failure.message },
      { "deadline", "its box had to be replaced: it did not answer in time" })
    t.equal(boxed.ask(of "1").value, 1)
  end)
end)
