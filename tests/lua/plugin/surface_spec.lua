local t = require "till.test"
local bundle = require "till.prim.bundle"
local guards = require "till.plugin.guards"
local prim = require "tests.support.prim"
local surface = require "till.plugin.surface"

local OWNER = { manifest = { name = "promo-all",
  capabilities = { "http:127.0.0.1", "sql:promo_all", "redis", "secrets:NAME" } }, config = {} }

-- Of the server's modules what plugins have no business with; who adds a function decides here.
local NOT_PROMISED = {
  ["till.money"] = {}, ["till.rule.price"] = {}, ["till.util.err"] = { "meta" },
  ["till.prim.co"] = { "adopt", "enter", "leave", "no_wait", "spawn_within", "task", "traceparent",
    "turn_end" },
  ["till.prim.conf"] = { "place", "plugins", "signing_secret" },
  ["till.prim.json"] = { "array_mt", "decode_foreign" }, ["till.prim.sql"] = { "whole" },
  ["till.util.exact"] = { "ONE", "ZERO", "gcd" },
  ["till.util.lru"] = { "__index", "clear", "count", "drop", "get", "set" }, -- its objects'
  ["till.util.id"] = { "PREFIXES", "use" }, ["till.util.text"] = { "use" },
  ["till.prim.ulid"] = { "is" }, ["till.util.schema"] = { "marks", "part" },
}


local function sorted_keys(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end


local function promised(module)
  local out = {}
  for _, entry in ipairs(module.functions) do out[entry[1]] = entry end
  for _, value in ipairs(module.values or {}) do out[value[1]] = value end
  return out
end


-- Its parameters: how many names, and whether there are more.
local function arity(params)
  local n, more = 0, false
  for part in params:gmatch("[^;]+") do
    if part:find("^%s*%.%.%.") then more = true else n = n + 1 end
  end
  return n, more
end


t.describe("the surface for plugins", function()
  for _, module in ipairs(surface.modules) do
    local name = module.module

    t.it(name .. ": what can be reached is what is listed", function()
      local given = guards.module(OWNER, name)
      t.same(sorted_keys(given), sorted_keys(promised(module)))
      for _, entry in ipairs(module.functions) do
        t.equal(type(given[entry[1]]), "function", entry[1])
        t.ok(#entry == 4, entry[1] .. ": name, parameters, results and a sentence")
      end
    end)

    t.it(name .. ": all that the module has is listed, or decided against", function()
      local known = promised(module)
      for _, hidden in ipairs(NOT_PROMISED[name] or {}) do
        t.equal(known[hidden], nil, hidden .. " is listed and hidden")
        known[hidden] = true
      end
      for _, key in ipairs(sorted_keys(require(name))) do
        t.ok(known[key], key .. " is in neither list")
      end
    end)

    t.it(name .. ": functions in Lua take what the list says", function()
      for _, entry in ipairs(module.functions) do
        local info = debug.getinfo(require(name)[entry[1]], "uS")
        if info.what == "Lua" and not info.isvararg then
          local n, more = arity(entry[2])
          t.same({ n, more }, { info.nparams, false }, entry[1])
        end
      end
    end)
  end

  t.it("is all that is in the objects, too", function()
    local objects = {
      ["till.Err"] = require("till.util.err").new("timeout", "x"),
      ["till.Waiter"] = require("till.prim.co").waiter(),
      ["till.Lru"] = require("till.util.lru").new(1),
    }
    for _, module in ipairs(surface.modules) do
      for class, entries in pairs(module.methods or {}) do
        local meta = objects[class] and getmetatable(objects[class])
        if meta then
          local listed, there = {}, {}
          for _, entry in ipairs(entries) do listed[#listed + 1] = entry[1] end
          for key, value in pairs(meta.__index) do
            local is_ours = not tostring(key):find("^_") and key ~= "new"
            if type(value) == "function" and is_ours then there[#there + 1] = key end
          end
          table.sort(listed)
          table.sort(there)
          t.same(there, listed, class)
        end
      end
    end
  end)

  t.it("cannot be changed for others", function()
    guards.module(OWNER, "till.money").split = nil
    t.equal(type(require("till.money").split), "function")
    t.equal(type(guards.module(OWNER, "till.money").split), "function")
  end)

  t.it("has a required module for each that shipped plugins use", function()
    for _, path in ipairs(bundle.list("plugins/")) do
      for name in bundle.read(path):gmatch("require%s*%(?%s*[\"'](till[%w_.]+)[\"']") do
        t.ok(surface.by_name[name], path .. " requires " .. name)
      end
    end
  end)
end)


local function with_plugin(handler, capabilities, fn, extra)
  prim.with({}, function(fakes, require)
    fakes.files = {
      ["plugins/promo-x/plugin.lua"] = ('return { name = "promo-x", version = "1.0.0", api = 1,'
        .. ' hooks = { "order.paid" }, capabilities = { %s }, %s }'):format(capabilities or "",
        extra or ""),
      ["plugins/promo-x/handler.lua"] = handler,
    }
    fakes.plugins = { ["promo-x"] = { enabled = true, url = "https://a.example/x" } }
    if not extra then fakes.plugins["promo-x"].url = nil end
    fn(fakes, require("till.plugin.loader").load()[1])
  end)
end


local function forbidden_of(fakes)
  local out = {}
  for _, line in ipairs(fakes.log) do
    if line.event == "plugin.forbidden" then out[#out + 1] = line.fields.reason end
  end
  return out
end


t.describe("a plugin", function()
  t.it("breaks nothing of the language for others", function()
    with_plugin([[
      string.format, table.concat, math.floor, bit.band = nil, nil, nil, nil
      assert(not getmetatable("x"))
      return { ["order.paid"] = function() return ("%d"):format(1) end }]], nil,
      function(_, plugin)
        t.equal(plugin.handlers["order.paid"](), "1")
        t.equal(string.format("%d", math.floor(bit.band(3, 1))), "1")
        t.equal(table.concat { "a", "b" }, "ab")
      end)
  end)

  t.it("is refused a host that it did not declare, and the log says so once", function()
    with_plugin([[
      local http = require "till.prim.http"
      local OTHER = { url = "https://b.example/" }
      return { ["order.paid"] = function() return http.request(OTHER) end }]],
      '"http:a.example"', function(fakes, plugin)
        for _ = 1, 2 do
          local value, failure = plugin.handlers["order.paid"](plugin.config)
          t.equal(value, nil)
          t.same({ failure.code, failure.sent }, { "forbidden", false })
        end
        t.same(forbidden_of(fakes),
          { 'put "http:b.example" into `capabilities` of plugins/promo-x/plugin.lua' })
      end)
  end)

  t.it("may not read another's secret, nor the server's options", function()
    with_plugin([[
      local conf = require "till.prim.conf"
      return { ["order.paid"] = function(_, what)
        if what == "get" then
          local host = conf.get("mysql.host")
          return host
        end
        return conf.secret { ["$env"] = "HOME" }
      end }]], nil, function(_, plugin)
        local value, failure = plugin.handlers["order.paid"](plugin.config)
        t.equal(value, nil)
        t.equal(failure.code, "forbidden")
        t.throws(function() plugin.handlers["order.paid"](plugin.config, "get") end,
          "handler.lua:4: a plugin reads shop%.%*")
      end)
  end)

  t.it("has keys of its own in Redis, and the commands on one key", function()
    with_plugin([[
      local redis = require "till.prim.redis"
      return { ["order.paid"] = function(_, ...) return redis.call(...) end }]], '"redis"',
      function(_, plugin)
        local _, failure = plugin.handlers["order.paid"](plugin.config, "FLUSHALL")
        t.equal(failure.code, "forbidden")
        _, failure = plugin.handlers["order.paid"](plugin.config, "DEL", "a", "b")
        t.equal(failure.code, "forbidden")
        _, failure = plugin.handlers["order.paid"](plugin.config, "GET", "a")
        t.equal(failure.code, "conn_lost")
      end)
  end)

  t.it("is told once, with its line, that a function will go", function()
    with_plugin([[
      local http = require "till.prim.http"
      return { ["order.paid"] = function()
        http.name_host("a.example")
        http.name_host("a.example")
      end }]], '"http:a.example"', function(fakes, plugin)
        plugin.handlers["order.paid"](plugin.config)
        plugin.handlers["order.paid"](plugin.config)
        local said = {}
        for _, line in ipairs(fakes.log) do
          if line.event == "plugin.deprecated" then said[#said + 1] = line.fields end
        end
        t.equal(#said, 1)
        t.equal(said[1].what, "till.prim.http.name_host")
        t.ok(said[1].at:find("plugins/promo%-x/handler%.lua:3$"), said[1].at)
      end)
  end)

  t.it("is told that an option will go", function()
    with_plugin('return { ["order.paid"] = function() end }', nil, function(fakes)
      t.same({ fakes.log[1].event, fakes.log[1].fields.what, fakes.log[1].fields.instead },
        { "plugin.deprecated", "config.url", "use host" })
    end, 'config = { url = { type = "string", deprecated = "use host" } }')
  end)
end)
