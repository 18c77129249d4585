local t = require "till.test"
local prim = require "tests.support.prim"

local MANIFEST = [[
return {
  name = "promo-bundle", version = "1.2.0", api = 1, priority = 400,
  hooks = { "promo.evaluate" },
  config = {
    skus = { type = "array", of = "sku", min = 2, required = true, doc = "The set." },
    percent = { type = "integer", min = 1, max = 100, default = 50 },
  },
}]]

local HANDLER = [[
local handler = {}
handler["promo.evaluate"] = function(config, cart) return { { percent = config.percent } } end
return handler]]

local OPTIONS = { skus = { "tea", "pot" } }


local function load_with(files, plugins)
  local result
  prim.with({}, function(fakes, require)
    fakes.files, fakes.plugins = files, plugins or { ["promo-bundle"] = OPTIONS }
    result = { require("till.plugin.loader").load() }
  end)
  return result[1], result[2]
end


local function bundle(manifest, handler)
  return { ["plugins/promo-bundle/plugin.lua"] = manifest or MANIFEST,
    ["plugins/promo-bundle/handler.lua"] = handler or HANDLER }
end


-- What its hook says once it is loaded with these options.
local function answer_of(manifest, handler, options)
  local plugin = load_with(bundle(manifest, handler), { ["promo-bundle"] = options })[1]
  return plugin.handlers["promo.evaluate"](plugin.config)
end


t.describe("the plugin loader", function()
  t.it("fills in defaults and keeps the order of priority, then name", function()
    local files = bundle()
    for _, name in ipairs { "b-low", "a-low" } do
      files["plugins/" .. name .. "/plugin.lua"] = ('return { name = "%s", version = "1.0.0",'
        .. ' api = 1, hooks = { "order.paid" } }'):format(name)
      files["plugins/" .. name .. "/handler.lua"] =
        'return { ["order.paid"] = function() end }'
    end
    local plugins = load_with(files)
    t.same({ plugins[1].name, plugins[2].name, plugins[3].name },
      { "promo-bundle", "a-low", "b-low" })
    t.same(plugins[1].config, { skus = { "tea", "pot" }, percent = 50 })
  end)

  t.it("allows a plugin no more by what it does to its options", function()
    local manifest = [[return { name = "promo-bundle", version = "1.2.0", api = 1,
      hooks = { "promo.evaluate" }, capabilities = { "http:config.url" },
      config = { url = { type = "string", default = "https://mine.example" },
        key = { type = "secret", required = true } } }]]
    local handler = [[
local conf = require "till.prim.conf"
local http = require "till.prim.http"
return { ["promo.evaluate"] = function(config)
  config.url, config.other = "https://theirs.example", { ["$env"] = "THEIRS" }
  local _, e1 = http.request { url = "https://theirs.example/" }
  local _, e2 = conf.secret { ["$env"] = "THEIRS" }
  return { e1 and e1.code, e2 and e2.code, conf.secret(config.key) ~= nil }
end }]]
    local key = { ["$env"] = "MINE" }
    t.same(answer_of(manifest, handler, { key = key }), { "forbidden", "forbidden", true })
  end)

  t.it("looks at what is used, not at what a metatable says first", function()
    local manifest = [[return { name = "promo-bundle", version = "1.2.0", api = 1,
      hooks = { "promo.evaluate" }, capabilities = { "http:mine.example", "secrets:MINE" } }]]
    local handler = [[
local conf = require "till.prim.conf"
local http = require "till.prim.http"
local function two_faced(first, key)
  local asked = 0
  return setmetatable({}, { __index = function(_, name)
    if name ~= key then return nil end
    asked = asked + 1
    return asked == 1 and first or "theirs"
  end })
end
return { ["promo.evaluate"] = function()
  local _, e1 = http.request(two_faced("https://mine.example", "url"))
  local _, e2 = conf.secret(two_faced("MINE", "$env"))
  return { e1 and e1.code, e2 and e2.code }
end }]]
    t.same(answer_of(manifest, handler, {}), { "forbidden", "forbidden" })
  end)

  t.it("hands out no metatable of the library's", function()
    local handler = [[
local err = require "till.util.err"
return { ["promo.evaluate"] = function()
  local meta = { __index = { a = 1 } }
  return { getmetatable(err.new("internal", "")), getmetatable(""), (getmetatable({})) == nil,
    getmetatable(setmetatable({}, meta)) == meta, setmetatable({}, nil) ~= nil }
end }]]
    local manifest = [[return { name = "promo-bundle", version = "1.2.0", api = 1,
      hooks = { "promo.evaluate" } }]]
    t.same(answer_of(manifest, handler, {}), { false, false, true, true, true })
  end)

  t.it("leaves out what is disabled or needs options that nobody gave", function()
    local plugins, left_out = load_with(bundle(), {})
    t.equal(#plugins, 0)
    t.same(left_out, { ["promo-bundle"] = "not configured: it needs options" })
    left_out = select(2, load_with(bundle(), { ["promo-bundle"] = { enabled = false } }))
    t.same(left_out, { ["promo-bundle"] = "disabled in the configuration" })
  end)

  t.it("takes one that opts in only where it is enabled by name", function()
    local files = bundle((MANIFEST:gsub("api = 1,", "api = 1, opt_in = true,")))
    local why = { ["promo-bundle"] = "not enabled in the configuration" }
    t.same(select(2, load_with(files, {})), why)
    t.same(select(2, load_with(files, { ["promo-bundle"] = OPTIONS })), why)
    local plugins = load_with(files, { ["promo-bundle"] = { enabled = true, skus = OPTIONS.skus } })
    t.equal(#plugins, 1)
  end)

  t.table({
    { why = "refuses a hook that is not there", handler = "return {}",
      message = "promo%-bundle/handler.lua: hook promo.evaluate is declared but not there" },
    { why = "refuses a hook that is not declared",
      handler = 'return { ["promo.evaluate"] = type, ["order.paid"] = type }',
      message = "hook order.paid is there but not declared in plugin.lua" },
    { why = "refuses a syntax error with file and line", handler = "local x =\n= 1",
      message = "plugins/promo%-bundle/handler.lua:2:" },
    { why = "refuses a module that is not promised", handler = 'require "till.store.orders"',
      message = "till.store.orders: not for plugins; docs/plugins.md lists what is" },
    { why = "asks for the capability", handler = 'require "till.prim.sql"',
      message = 'put "sql" into `capabilities` of plugins/promo%-bundle/plugin.lua' },
    { why = "refuses a global", handler = "counter = 1",
      message = "a plugin has no globals: write `local counter`" },
    { why = "hides what is not for plugins", handler = "return os.time()",
      message = "there is no global `os` for plugins" },
  }, function(case)
    t.throws(function() load_with(bundle(nil, case.handler)) end, case.message)
  end)

  t.table({
    { why = "refuses an unknown field with its line", from = "priority = 400",
      to = "prority = 400",
      message = "plugin.lua:2: there is no field `prority`; was `priority` meant%?" },
    { why = "refuses another name than the folder's", from = '"promo%-bundle"', to = '"promo"',
      message = "`name` is promo, the folder's is promo%-bundle" },
    { why = "refuses a version", from = "1%.2%.0", to = "one", message = "must be like 1.2.0" },
    { why = "refuses another api", from = "api = 1", to = "api = 2", message = "for api 2" },
    { why = "refuses an unknown hook", from = "promo%.evaluate", to = "promo.evaluat",
      message = "plugin.lua:3: there is no hook promo.evaluat; was promo.evaluate meant%?" },
    { why = "refuses a late veto: no such hook", from = "promo%.evaluate", to = "checkout.step",
      message = "there is no hook checkout.step" },
    { why = "refuses an unknown type", from = 'of = "sku"', to = 'of = "sky"',
      message = "config.skus.of: no such type: sky" },
    { why = "refuses a default that does not fit", from = "default = 50", to = "default = 500",
      message = "config.percent.default: at most 100" },
  }, function(case)
    local source = MANIFEST:gsub(case.from, case.to)
    t.throws(function() load_with(bundle(source)) end, case.message)
  end)

  t.table({
    { why = "refuses an unknown option, naming the nearest", given = { skuz = {} },
      message = "plugins.promo%-bundle: config.skuz: there is no such option; was skus meant%?" },
    { why = "refuses a set of one", given = { skus = { "tea" } },
      message = "config.skus: at least 2" },
    { why = "refuses what is out of range", given = { skus = { "a", "b" }, percent = 101 },
      message = "config.percent: at most 100" },
    { why = "refuses a missing option", given = { percent = 5 },
      message = "config.skus: is needed. The set." },
  }, function(case)
    t.throws(function() load_with(bundle(), { ["promo-bundle"] = case.given }) end, case.message)
  end)

  t.table({
    { why = "refuses a text that says what is published", option = '{ type = "string" }' },
    { why = "refuses numbers that do", option = '{ type = "array", of = "integer" }' },
    { why = "refuses a map that does", option = '{ type = "map", of = "string" }' },
    { why = "takes a list of texts", option = '{ type = "array", of = "string" }', is_good = true },
    { why = "takes a list of such texts", is_good = true,
      option = '{ type = "array", of = { type = "string", max = 64 } }' },
  }, function(case)
    local files = bundle((MANIFEST:gsub("promo%.evaluate", "event.publish")
      :gsub("percent = %b{}", "events = " .. case.option)),
      'return { ["event.publish"] = function() end }')
    if case.is_good then return t.equal(#load_with(files), 1) end
    t.throws(function() load_with(files) end, "plugin.lua:%d: config.events: with the hook")
  end)

  t.it("refuses options of a plugin that is not there", function()
    t.throws(function() load_with(bundle(), { ["promo-bundel"] = {} }) end,
      "there is no such plugin; was promo%-bundle meant")
  end)

  t.it("loads a plugin's own parts once", function()
    local files = bundle(nil, [[
      local a, b = require "plugins.promo-bundle.part", require "plugins.promo-bundle.part"
      assert(a == b and a.n == 1)
      return { ["promo.evaluate"] = function() return {} end }]])
    files["plugins/promo-bundle/part.lua"] = "return { n = 1 }"
    t.equal(#load_with(files), 1)
  end)
end)
