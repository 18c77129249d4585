-- Rules without end, without measure, and such as crash what runs them: each costs itself alone.
local t = require "till.test"
local box = require "till.prim.box"
local boxed = require "tests.support.boxed"

local of, run, try = boxed.of, boxed.run, boxed.try


t.describe("loops without end", function()
  local function ended(why, statements)
    return { why = why, text = run(statements), code = "budget" }
  end

  try {
    ended("while", "while true do end"),
    ended("repeat", "repeat until false"),
    ended("goto", "::top:: goto top"),
    ended("for to infinity", "for i = 1, math.huge do end"),
    ended("for that does not get on", "for i = 1, 2, 0 do end while true do end"),
    ended("in pcall", "while true do pcall(function() while true do end end) end"),
    ended("in __index",
      "local t = setmetatable({}, { __index = function() while true do end end }) return t.x"),
    ended("in __newindex",
      "local t = setmetatable({}, { __newindex = function() while true do end end }) t.x = 1"),
    ended("in __call", "setmetatable({}, { __call = function() while true do end end })()"),
    ended("in __eq", [[local m = { __eq = function() while true do end end }
      return setmetatable({}, m) == setmetatable({}, m)]]),
    ended("in __lt", [[local m = { __lt = function() while true do end end }
      return setmetatable({}, m) < setmetatable({}, m)]]),
    ended("in __concat",
      "return setmetatable({}, { __concat = function() while true do end end }) .. 'x'"),
    ended("in __unm", "return -setmetatable({}, { __unm = function() while true do end end })"),
    ended("in __tostring",
      "return tostring(setmetatable({}, { __tostring = function() while true do end end }))"),
    ended("in an iterator", "for _ in function() return 1 end do end"),
    ended("in a comparator", "table.sort({ 3, 2, 1 }, function() while true do end end)"),
    ended("in the callback of gsub", "('x'):gsub('x', function() while true do end end)"),
    ended("in gmatch's loop", "while true do for _ in ('xxxx'):gmatch('x') do end end"),
    ended("over an iterator of gmatch that finds nothing",
      "for _ in function() return ('a'):find('b') or 1 end do end"),
    ended("with a comparator that is never content",
      "while true do table.sort({ 5, 3, 8, 1 }, function() return true end) end"),
    ended("that builds tables", "while true do local _ = {} end"),
    ended("that builds closures", "while true do local _ = function() return 1 end end"),
    ended("that joins texts",
      "local s = '' while true do s = s .. 'x' if #s > 100 then s = '' end end"),
    ended("that spreads values", "local function f(...) return f(...) end f(1, 2, 3)"),
    ended("of tail calls", "local function f() return f() end f()"),
    ended("of next", "local t = {} for i = 1, 1000 do t[i] = i end while true do next(t) end"),
    ended("of pairs", "local t = {} for i = 1, 1000 do t[i] = i end while true do pairs(t) end"),
    ended("of unpack", "local t = {} for i = 1, 200 do t[i] = i end while true do unpack(t) end"),
    ended("of concat",
      "local t = {} for i = 1, 900 do t[i] = 'x' end while true do table.concat(t) end"),
    ended("of insert in front", "local t = {} while true do table.insert(t, 1, 1) end"),
    ended("of format", "while true do ('%99.99f'):format(1e300) end"),
    ended("of rep", "while true do ('x'):rep(400000) end"),
    { why = "of comparisons of long texts", code = "deadline", more = { rule_ms = 20 },
      text = run [[local a = ('x'):rep(400000) local b = a .. 'y'
        while true do local _ = a < b end]] },
    { why = "of long texts that are numbers", code = "deadline", more = { rule_ms = 20 },
      text = run "local s = ('1'):rep(400000) while true do local _ = s + 1 end" },
    { why = "of long work in one instruction", code = "deadline", more = { rule_ms = 20 },
      text = run "local s = ('x'):rep(400000) while true do s = s:reverse() end" },
    { why = "at its outermost", text = "while true do end", code = "budget" },
    { why = "at its outermost, within pcall",
      text = "pcall(function() while true do end end) while true do end",
      code = "budget" },
  }
end)


t.describe("patterns that take for ever", function()
  local function ended(why, statements)
    return { why = why, text = run(statements), code = "budget" }
  end

  try {
    ended("exponential", "return (('a'):rep(60)):find(('a-'):rep(30) .. 'b')"),
    ended("of stars", "return (('a'):rep(100)):match(('a*'):rep(20) .. 'b')"),
    ended("of options", "return (('a'):rep(30)):match(('a?'):rep(30) .. ('a'):rep(31))"),
    ended("of balances", "return (('('):rep(5000)):gsub('%b()', '')"),
    ended("of repeated captures", "return (('ab'):rep(2000)):find('(.-)(.-)(.-)%1%2%3x')"),
    ended("over and over", "local s = ('a'):rep(2000) for i = 1, 1000 do s:find('.-.-b') end"),
    { why = "a plain search of a long text",
      text = of "(('a'):rep(400000)):find('b', 1, true) == nil", is = true },
    { why = "too many parts", text = of "('x'):find(('a?'):rep(200))", code = "error",
      says = "too many parts" },
    { why = "too many captures", text = of "('x'):find(('()'):rep(40))", code = "error",
      says = "too many captures" },
    { why = "a set without its end", text = of "('x'):find('[a')", code = "error",
      says = "malformed" },
    { why = "an escape without its end", text = of "('x'):find('a%')", code = "error",
      says = "malformed" },
    { why = "a capture that is not closed", text = of "('x'):find('(a')", code = "error",
      says = "unfinished" },
    { why = "a capture that was not opened", text = of "('x'):find('a)')", code = "error",
      says = "without its" },
    { why = "a back reference into nothing", text = of "('x'):find('%1')", code = "error",
      says = "capture index" },
    { why = "a back reference to an open capture", text = of "('x'):find('(%1)')", code = "error",
      says = "capture index" },
    { why = "%b without its characters", text = of "('x'):find('%b')", code = "error",
      says = "malformed" },
    { why = "%f without its set", text = of "('x'):find('%f')", code = "error", says = "missing" },
    { why = "a capture index in the replacement", text = of "('x'):gsub('x', '%2')", code = "error",
      says = "capture index" },
    { why = "a replacement that is a table", text = of "('x'):gsub('x', function() return {} end)",
      code = "error", says = "invalid replacement" },
  }
end)


t.describe("more memory than there is", function()
  local function ended(why, statements)
    return { why = why, text = run(statements), code = "memory", more = { budget = 50000000 } }
  end

  try {
    ended("a text that doubles", "local s = 'x' while true do s = s .. s end"),
    ended("a text that doubles, in pcall",
      "local s = 'x' while true do pcall(function() s = s .. s end) end"),
    ended("rep of a million", "return ('x'):rep(1e6)"),
    ended("rep of infinity", "return ('x'):rep(math.huge)"),
    ended("rep of rep", "return (('x'):rep(1000)):rep(1000)"),
    ended("a list", "local t = {} for i = 1, 1e7 do t[i] = i end"),
    ended("a map", "local t = {} for i = 1, 1e7 do t['k' .. i] = i end"),
    ended("tables in tables", "local t = {} while true do t = { t, {}, {} } end"),
    ended("closures that hold one another",
      "local f = function() end while true do local g = f f = function() return g end end"),
    ended("texts of concat",
      "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(2000) end return table.concat(t)"),
    ended("texts of gsub", "return (('x'):rep(1000)):gsub('x', ('y'):rep(2000))"),
    ended("texts of format", "local s = ('x'):rep(400000) return ('%s%s%s%s'):format(s, s, s, s)"),
    { why = "a table of a great index",
      text = run "local t = {} t[2^40] = 1 t[1e15] = 1 return #t", is = 0 },
  }

  t.it("an input that no exchange takes", function()
    local answers, err = box.evaluate { hook = "promo.evaluate", input = { ("x"):rep(5 * 2 ^ 20) },
      rules = { { name = "a", text = of "1" } } }
    t.same({ answers, err.code }, { nil, "body_too_large" })
  end)

  t.it("an input that is too large", function()
    local list = {}
    for i = 1, 60000 do list[i] = { a = i, b = "text " .. i } end
    local failure = boxed.ask(of "1", { list = list }).failure
    t.same({ failure.code, failure.message }, { "memory", "the input is too large" })
    t.equal(boxed.ask(of "1").value, 1)
  end)
end)


t.describe("calls within calls", function()
  local function ended(why, statements)
    return { why = why, text = run(statements), code = "depth" }
  end

  try {
    ended("a function that calls itself", "local function f() return 1 + f() end f()"),
    ended("two that call each other",
      "local a, b function a() b() return 1 end function b() a() return 1 end a()"),
    ended("the callback of gsub", "local function f() return (('x'):gsub('x', f)) end f()"),
    ended("a comparator", "local function f() table.sort({ 2, 1 }, f) return true end f()"),
    ended("pcall", "local function f() return pcall(f) end f()"),
    ended("pcall that goes on after it", "local function f() pcall(f) f() end f()"),
    ended("__index of itself",
      "local t = {} setmetatable(t, { __index = function(_, k) return t[k] .. 1 end }) return t.x"),
    ended("__tostring",
      "local m = {} m.__tostring = function(x) return tostring(x) end return "
      .. "tostring(setmetatable({}, m))"),
    ended("__lt in sort",
      [[local m = {} m.__lt = function(a, b) table.sort({ a, b }) return false end
      table.sort({ setmetatable({}, m), setmetatable({}, m) })]]),
    ended("after it was caught, again and again", [[local function f() return 1 + f() end
      for _ = 1, 100 do pcall(f) end]]),
    { why = "__index chains",
      text = run [[local t = {} for _ = 1, 1000 do t = setmetatable({}, { __index = t }) end
      return t.x]], code = "error", says = "loop" },
    { why = "brackets", text = "return " .. ("("):rep(5000) .. "1" .. (")"):rep(5000),
      code = "syntax",
      says = "levels" },
    { why = "tables", text = "return " .. ("{"):rep(5000) .. ("}"):rep(5000), code = "syntax",
      says = "levels" },
    { why = "functions", text = ("return function() "):rep(300) .. (" end"):rep(300),
      code = "syntax",
      says = "levels" },
    { why = "blocks", text = ("do "):rep(5000) .. ("end "):rep(5000), code = "syntax",
      says = "levels" },
    { why = "minus signs", text = "return " .. ("- "):rep(30000) .. "1", code = "syntax",
      says = "levels" },
    { why = "too many locals", text = ("local x "):rep(300), code = "syntax",
      says = "local variables" },
    { why = "too much to unpack", text = of "unpack({}, 1, 1e6)", code = "error",
      says = "too many" },
    { why = "unpack of the ends of numbers", text = of "unpack({}, -2^31, 2^31)", code = "error",
      says = "too many" },
    { why = "more than 64 KB of text",
      text = ("-- a comment that is long\n"):rep(3000) .. "return function() end",
      code = "syntax", says = "64 KB" },
  }
end)


t.describe("what crashes LuaJIT", function()
  local function crash(why, text) return { why = why, text = text, code = "crash",
    says = "signal 11" } end

  try {
    crash("a call of nil between `in` and `do`", "local _ for _ in (nil):foo() do end"),
    crash("behind a comment", "local _ for _ in --[[ nothing ]] (nil):foo() do end"),
    crash("in brackets", "local _ for _ in ((nil)):foo() do end"),
    crash("with arguments", "local _, a for _ in (nil):foo(a) do end"),
    crash("with two names", "local _ for _, b in (nil):foo() do end"),
    crash("within the function", "return function() local _ for _ in (nil):foo() do end end"),
    { why = "coroutines within one another: there are none", code = "error", says = "coroutine",
      text = "local function f() return coroutine.wrap(f)() end return f()" },
    { why = "handlers of errors: there are none", code = "error", says = "xpcall",
      text = run "local function f() return xpcall(f, f) end return f()" },
    { why = "pcall as a metamethod", text = run [[local m = { __index = pcall, __newindex = pcall,
        __add = pcall, __eq = pcall, __lt = pcall, __le = pcall, __concat = pcall, __unm = pcall }
      local t, u = setmetatable({}, m), setmetatable({}, m)
      t.x = 1
      return { t.x, t + u, t == u, t < u, t <= u, t .. u, -t }]],
      is = { false, false, false, false, false, false, false } },
    { why = "pcall as a metamethod of calls", text = run "setmetatable({}, { __call = pcall })()",
      code = "depth" },
    { why = "ipairs, select and error as metamethods", text = run [[
      local m = { __index = ipairs, __add = select, __concat = error, __lt = assert, __unm = type }
      local t = setmetatable({}, m)
      return { (pcall(function() return t + t end)), (pcall(function() return t .. t end)), -t }]],
      is = { false, false, "table" } },
    { why = "an error while the stack is full, with a handler",
      text = run [[local function f() local ok = pcall(f) error(ok) end
      f()]], code = "depth" },
  }
end)


t.describe("several rules, some of which take the box with them", function()
  local FINE, CRASH = of "input.n", "local _ for _ in (nil):foo() do end"

  local function codes(...)
    local rules = {}
    for i, text in ipairs { ... } do rules[i] = { name = "r" .. i, text = text, args = {} } end
    local answers = assert(box.evaluate { hook = "promo.evaluate", input = { n = 7 },
      rules = rules })
    local out = {}
    for i, answer in ipairs(answers) do
      out[i] = answer.failure and answer.failure.code or answer.value
    end
    return out
  end

  t.it("are named, the others answered", function()
    t.same(codes(FINE, CRASH, FINE), { 7, "crash", 7 })
    t.same(codes(CRASH, FINE), { "crash", 7 })
    t.same(codes(FINE, CRASH .. " ", CRASH, FINE, CRASH .. "  "), { 7, "crash", "crash", 7,
      "crash" })
    t.same(codes(FINE, run "while true do end", FINE), { 7, "budget", 7 })
  end)

  t.it("however many", function()
    t.same(codes(FINE, CRASH .. "--1", CRASH .. "--2", CRASH .. "--3", CRASH .. "--4", CRASH
      .. "--5", FINE),
      { 7, "crash", "crash", "crash", "crash", "crash", 7 })
  end)

  t.it("all at once, from many calls", function()
    local waiting = require "tests.support.until"
    local calls, done = {}, 0
    for i = 1, 20 do
      calls[i] = function()
        t.same(codes(FINE, i % 5 == 0 and CRASH or FINE, FINE), { 7, i % 5 == 0 and "crash" or 7,
          7 })
        done = done + 1
      end
    end
    waiting.together(unpack(calls))
    t.equal(done, 20)
  end)
end)
