local t = require "till.test"
local json = require "till.prim.json"
local prim = require "tests.support.prim"

local TEXT = "return function(args, cart) return nil end\n"


local function manifest(more)
  local out = { name = "tea-time", hook = "promo.evaluate", version = 3, title = "Tea time",
    schema = { percent = { type = "decimal", default = "10" } }, args = { percent = "15" },
    when = { any_sku = { "TEA" } }, priority = 100 }
  for key, value in pairs(more or {}) do out[key] = value end
  return out
end


-- An option that holds tables within one another.
local function deep(levels)
  local schema, value = { type = "string" }, "x"
  for _ = 2, levels do
    schema, value = { type = "map", of = schema }, { a = value }
  end
  return manifest { schema = { m = schema }, args = { m = value } }
end


local function without(name)
  local out = manifest()
  out[name] = nil
  return out
end


local function files(m, text)
  return { ["rules/tea-time.json"] = type(m) == "string" and m or json.encode(m or manifest()),
    ["rules/tea-time.lua"] = text or TEXT }
end


local function load(given)
  local result
  prim.with({}, function(fakes, require)
    fakes.files = given
    result = { pcall(require("till.plugin.rules").load) }
  end)
  return unpack(result)
end


t.describe("rules of a generation", function()
  t.it("are made of manifest and text, and named by the hash of both", function()
    local good, list = load(files())
    t.ok(good, list)
    local rule = list[1]
    t.same({ rule.name, rule.version, rule.hook, rule.args.percent, rule.text },
      { "tea-time", 3, "promo.evaluate", "15", TEXT })
    local _, same = load(files())
    t.equal(same[1].hash, rule.hash)
    t.ok(#rule.hash == 64 and rule.hash:find("^%x+$"))
    for _, other in ipairs { files(nil, TEXT .. "\n"), files(manifest { priority = 101 }),
      files(manifest { args = {} }) } do
      t.ok(select(2, load(other))[1].hash ~= rule.hash, "two rules of one hash")
    end
  end)

  t.it("are asked in the order of priority, then name", function()
    local given = {}
    for name, priority in pairs { ["b-two"] = 2, ["a-two"] = 2, ["z-one"] = 1 } do
      given["rules/" .. name .. ".json"] = json.encode(manifest { name = name,
        priority = priority })
      given["rules/" .. name .. ".lua"] = TEXT
    end
    local _, list = load(given)
    t.same({ list[1].name, list[2].name, list[3].name }, { "z-one", "a-two", "b-two" })
  end)

  t.it("may be none at all", function() t.same({ load({}) }, { true, {} }) end)

  t.table({
    { why = "a manifest that is no JSON", files = files("{"), says = "rules/tea-time.json" },
    { why = "a manifest that is no object", files = files("[1]"),
      says = "rules/tea-time.json:  must be an object" },
    { why = "no text", files = { ["rules/tea-time.json"] = json.encode(manifest()) },
      says = "rules/tea-time.lua: it is not there" },
    { why = "no manifest", files = { ["rules/tea-time.lua"] = TEXT },
      says = "without its manifest" },
    { why = "a file that is neither", files = { ["rules/tea-time.txt"] = "" },
      says = "rules/tea-time.txt" },
    { why = "another name", files = files(manifest { name = "tea" }), says = "/name is tea" },
    { why = "a name of another kind", files = files(manifest { name = "Tea" }), says = "/name" },
    { why = "a hook that rules may not answer",
      files = files(manifest { hook = "payment.authorize" }), says = "/hook" },
    { why = "no hook", files = files(without "hook"), says = "/hook is missing" },
    { why = "a field that nobody knows", files = files(manifest { budget = 1 }), says = "/budget" },
    { why = "an option of no type", says = "/schema/percent",
      files = files(manifest { schema = { percent = { type = "number" } }, args = {} }) },
    { why = "an option deep inside", says = "/schema/a/of",
      files = files(manifest { schema = { a = { type = "array", of = "sky" } }, args = {} }) },
    { why = "an enum of tables", says = "/schema/a",
      files = files(manifest { schema = { a = { type = "enum", values = { {} } } }, args = {} }) },
    { why = "a secret", says = "/schema/a a rule gets no secrets", files = files(manifest {
      args = {}, schema = { a = { type = "array", of = { type = "secret" } } } }) },
    { why = "an argument that does not fit", says = "/args/percent must be a decimal",
      files = files(manifest { args = { percent = 15 } }) },
    { why = "an argument that does not fit, deep inside", says = "/args/a/1 must be a SKU",
      files = files(manifest { schema = { a = { type = "array", of = "sku" } },
        args = { a = { "A", "B C" } } }) },
    { why = "an argument that is not in the schema", says = "/args/percents",
      files = files(manifest { args = { percents = "1" } }) },
    { why = "a name in its arguments that the box cannot be told of", says = "/args names have",
      files = files(manifest { schema = { m = { type = "map", of = "string" } },
        args = { m = { [("k"):rep(256)] = "x" } } }) },
    { why = "an option of such a name", says = "/args names have",
      files = files(manifest { schema = { [("k"):rep(256)] = { type = "string", default = "x" } },
        args = {} }) },
    { why = "arguments too deep for the box", says = "/args names have", files = files(deep(31)) },
    { why = "a condition that nobody knows", says = "/when/any_skus",
      files = files(manifest { when = { any_skus = { "A" } } }) },
    { why = "times that end before they begin", says = "/ends_at",
      files = files(manifest { starts_at = "2026-02-01T00:00:00.000Z",
        ends_at = "2026-01-01T00:00:00.000Z" }) },
    { why = "a time of another zone", says = "/starts_at",
      files = files(manifest { starts_at = "2026-02-01T00:00:00+02:00" }) },
    { why = "bytecode", files = files(nil, "\27LJ\2"), says = "bytecode" },
    { why = "broken UTF-8", files = files(nil, TEXT .. "--\255"), says = "UTF-8" },
    { why = "a NUL", files = files(nil, TEXT .. "--\0"), says = "UTF-8 without NUL" },
    { why = "more than 64 KB", files = files(nil, TEXT .. ("-"):rep(65536)), says = "65536 bytes" },
  }, function(case)
    local good, why = load(case.files)
    t.equal(good, false)
    t.ok(why:find(case.says, 1, true), why)
  end)
end)
