-- till/main - what the core calls; loading this file loads and checks the whole generation.
--
--   http(req)          -> status, headers, body, route template, keep_ms, live: what the answer's
--                         stream watches (http.respond)
--   priority(method, path) -> "read", "staff", "cart" or "checkout"; asked under overload
--   jobs(worker)       -> when co.closing() is true
--   background()       -> at once, after its spawns
--   warm()             -> when what this generation keeps is told of changes: before it is served
--   generation(order) -> answer      both JSON: the master's errands in the database
--   command(name, ...) -> exit code
--
-- An error while this loads refuses the generation, with file and reason; nothing waits here.
local conf = require "till.prim.conf"
local co = require "till.prim.co"
local log = require "till.prim.log"
local cache = require "till.cache"
local capabilities = require "till.flow.capabilities"
local generations = require "till.flow.generations"
local dispatch = require "till.plugin.dispatch"
local findings = require "till.plugin.findings"
local live = require "till.flow.live"
local loader = require "till.plugin.loader"
local plugin_routes = require "till.http.plugin_routes"
local kinds = require "till.flow.kinds"
local router = require "till.http.router"
local rulebook = require "till.flow.rulebook"
local rules = require "till.plugin.rules"

local main = {}


local function routes_of(module)
  local routes = require(module)
  if type(routes) == "function" then routes = routes() end
  if type(routes) ~= "table" then error(module .. ": it must return a list of routes", 0) end
  return { source = module, routes = routes }
end


local function groups()
  local out = {}
  for _, module in ipairs(require("till.http.routes")) do out[#out + 1] = routes_of(module) end
  for _, module in ipairs { "till.http.docs", "till.http.home" } do
    out[#out + 1] = routes_of(module)
  end
  for _, group in ipairs(plugin_routes.groups()) do out[#out + 1] = group end
  return out
end


local plugins, left_out = loader.load()
dispatch.setup(plugins)
capabilities.check()
kinds.check()
local merchants = findings.try(nil, rules.load) or {}
rulebook.setup(merchants)
local served = findings.try(nil, function() return router.new(groups()) end)
if served then require("till.http.docs").set(served.routes) end


function main.http(req)
  return served:handle(req)
end


function main.priority(method, path)
  return served:priority(method, path)
end


function main.jobs(worker)
  return require("till.flow.jobs").run(worker)
end


function main.warm()
  return cache.listen()
end


function main.background()
  cache.start()
  co.spawn(generations.background)
  live.background()
  for name, reason in pairs(left_out) do
    log.info("plugin.left_out", { plugin = name, reason = reason })
  end
  log.info("generation.ready", { generation = co.generation(), plugins = #plugins,
    rules = #merchants, routes = #served.routes, shop = conf.get("shop.name") })
end


function main.generation(order)
  return generations.run(order)
end


function main.command(name, ...)
  local known = type(name) == "string" and name:match("^%l[%l_]*$")
  if not known then error("no such command: " .. tostring(name), 0) end
  return require("till.cli." .. known).main(...)
end


return main
