-- What a rule may reach for, and does not get.
local t = require "till.test"
local boxed = require "tests.support.boxed"

local of, run, try = boxed.of, boxed.run, boxed.try


local function gone(name, expression)
  return { why = "there is no " .. name, text = of(("(%s) == nil"):format(expression or name)),
    is = true }
end


t.describe("names that are not there", function()
  local cases = {}
  for _, name in ipairs { "_G", "_VERSION", "bit", "collectgarbage", "coroutine", "debug",
    "dofile", "ffi",
    "gcinfo", "getfenv", "io", "jit", "load", "loadfile", "loadstring", "module", "newproxy", "os",
    "package", "print", "require", "setfenv", "utf8", "xpcall", "till", "arg" } do
    cases[#cases + 1] = gone(name)
  end
  for _, name in ipairs { "string.dump", "string.gfind", "string.pack", "table.foreach",
    "table.foreachi",
    "table.getn", "table.maxn", "table.move", "table.setn", "table.unpack", "math.random",
      "math.randomseed",
    "math.sin", "math.exp", "math.pow", "math.mod" } do
    cases[#cases + 1] = gone(name)
  end
  cases[#cases + 1] = gone("dump as a method of texts", "('').dump")
  try(cases)
end)


t.describe("ways to a loader", function()
  try {
    { why = "bytecode", text = "\27LJ\2\2\8\0\2\0\0\1\0\2\0\0", code = "syntax" },
    { why = "bytecode behind a comment", text = "#!\n\27LJ\2", code = "syntax" },
    { why = "a text that is all zeros", text = ("\0"):rep(100), code = "syntax" },
    { why = "numbers of C's", text = "local x = 1LL return function() return 1 end",
      code = "syntax",
      says = "LL" },
    { why = "complex numbers", text = "return function() return 2i end", code = "syntax",
      says = "LL" },
    { why = "getfenv through the level of a call", text = run "return getfenv(0)", code = "error",
      says = "global 'getfenv'" },
    { why = "a caller's environment by the metatable of functions",
      text = of "getmetatable(type) == nil", is = true },
    { why = "a metatable of nil", text = of "getmetatable(nil) == nil", is = true },
    { why = "a metatable of numbers", text = of "getmetatable(1) == nil", is = true },
  }
end)


t.describe("the metatable of texts", function()
  try {
    { why = "is locked", text = of "getmetatable('')", is = false },
    { why = "cannot be replaced", text = run "return pcall(setmetatable, 'a', {})", is = false },
    { why = "gives nothing to write to", text = run "local s = 'a' s.x = 1", code = "error",
      says = "attempt to index" },
    { why = "does not follow what is done to the library",
      text = run "string.upper = function() return 'mine' end return ('a'):upper()", is = "A" },
    { why = "does not follow a library that is emptied",
      text = run "for name in pairs(string) do string[name] = nil end return ('a'):rep(3)",
        is = "aaa" },
  }
end)


t.describe("what one rule leaves behind", function()
  local function pair(why, first, second, is)
    t.it(why .. " is not there for the next", function()
      boxed.ask(run(first))
      t.same(boxed.ask(of(second)).value, is)
    end)
  end

  pair("a global", "leak = 7", "leak == nil", true)
  pair("a function of the library", "string.format = function() return 'mine' end",
    "('%d'):format(1)", "1")
  pair("a function of math", "math.floor = nil", "math.floor(1)", 1)
  pair("a base function", "pairs = nil", "type(pairs)", "function")
  pair("a field of the library", "table.mine = 1", "table.mine == nil", true)
  pair("a metatable of the library", "setmetatable(string, { __index = { mine = 1 } })",
    "string.mine == nil", true)

  t.it("nor for itself: upvalues begin anew", function()
    local text = "local n = 0 return function() n = n + 1 return n end"
    t.equal(boxed.ask(text).value, 1)
    t.equal(boxed.ask(text).value, 1)
  end)

  t.it("what it does to the input another rule of the same cart does not see", function()
    local box = require "till.prim.box"
    local spoil = run("input.lines[1].quantity = 99 input.lines[2] = nil input.more = 1 return "
      .. "input.lines[1].quantity")
    local look = of "{ input.lines[1].quantity, #input.lines, input.more == nil }"
    local answers = assert(box.evaluate { hook = "promo.evaluate",
      input = { lines = { { quantity = 1 }, { quantity = 2 } } },
      rules = { { name = "a", text = spoil }, { name = "b", text = look }, { name = "c",
        text = spoil },
        { name = "d", text = look } } })
    t.same({ answers[1].value, answers[2].value, answers[3].value, answers[4].value },
      { 99, { 1, 2, true }, 99, { 1, 2, true } })
  end)
end)


t.describe("what a rule may return", function()
  local function refused(why, expression, says)
    return { why = why, text = of(expression), code = "answer", says = says }
  end

  try {
    { why = "nothing", text = of "nil" },
    { why = "text, numbers, true and false", text = of "{ a = 'x', b = 1, c = true, d = false }",
      is = { a = "x", b = 1, c = true, d = false } },
    { why = "no zero that is negative",
      text = run "local z = 0 return tostring(-z) == '-0' and -z or 0", is = 0 },
    refused("no function", "function() end", "a function"),
    refused("no function inside of a list", "{ 1, { pairs } }", "a function"),
    refused("no infinity", "1 / 0", "not finite"),
    refused("no number that is none", "0 / 0", "not finite"),
    refused("no fraction", "0.1", "give decimals as text"),
    refused("no number whose neighbours are not whole", "2 ^ 53 + 2", "not whole"),
    refused("no table with a metatable", "setmetatable({}, { __index = input })", "a metatable"),
    refused("no table whose metatable is hidden", "setmetatable({}, { __metatable = 'x' })",
      "a metatable"),
    refused("no list with gaps", "{ 1, nil, 3 }", "gaps"),
    refused("no list with names beside it", "{ 1, a = 2 }", "gaps, or with names"),
    refused("no key that is a fraction", "{ [1.5] = 1 }", "keys"),
    refused("no key that is true", "{ [true] = 1 }", "keys"),
    refused("no key that is a table", "{ [{}] = 1 }", "keys"),
    refused("no key of many bytes", "{ [('k'):rep(300)] = 1 }", "short text"),
    refused("no key that is not UTF-8", "{ ['\\255'] = 1 }", "short text"),
    refused("no text that is not UTF-8", "'\\255\\254'", "UTF%-8"),
    refused("no text that is cut within a character", "('\195\164'):sub(1, 1)", "UTF%-8"),
    refused("no long text", "('x'):rep(5000)", "4096"),
    { why = "no table that holds itself", text = run "local a = {} a.a = a return a",
      code = "answer",
      says = "in itself" },
    { why = "nothing nested deep",
      text = run "local a = {} for _ = 1, 20 do a = { a } end return a",
      code = "answer", says = "too deep" },
    { why = "no more than 64 KB",
      text = run "local a = {} for i = 1, 100 do a[i] = ('x'):rep(1000) end return a",
      code = "answer", says = "more than can be taken" },
    { why = "no answer through __index", code = "answer", says = "metatable",
      text = of "setmetatable({ a = 1 }, { __index = function() while true do end end })" },
    { why = "no length through __len", code = "answer", says = "metatable",
      text = of "setmetatable({}, { __len = function() return 1e9 end })" },
    { why = "only the first of several", text = run "return 1, 2, 3", is = 1 },
  }
end)


t.describe("what is thrown", function()
  try {
    { why = "a text, with its line", text = "return function()\n  error('no')\nend",
      code = "error", says = "^no$" },
    { why = "a table", text = run "error({})", code = "error", says = "a table was thrown" },
    { why = "nothing", text = run "error()", code = "error", says = "a nil was thrown" },
    { why = "a table whose text would be made by code", code = "error", says = "a table was thrown",
      text = run "error(setmetatable({}, { __tostring = function() while true do end end }))" },
    { why = "a long text, cut", text = run "error(('x'):rep(100000))", code = "error",
      says = "^x+$" },
    { why = "bytes that are no text", text = run "error('\\0\\255')", code = "error" },
    { why = "the same words as ours", text = run "error('rule:99: mine', 0)", code = "error",
      says = "^mine$" },
    { why = "while it is being loaded", text = "error('early')", code = "error", says = "early" },
    { why = "within pcall, which catches it", text = of "{ pcall(error, 'x') }",
      is = { false, "x" } },
  }
end)
