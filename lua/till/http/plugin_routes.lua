-- till/http/plugin_routes - the routes that plugins bring along (hook http.route).
--
--   plugin_routes.groups() -> { { source =, routes = {...} }, ... } for the router
--
-- A plugin's paths lie below /plugins/<name>/. Its definitions are those of till.http.route; as a
-- plugin cannot require that, each has `method` and `path` in it.
local dispatch = require "till.plugin.dispatch"
local findings = require "till.plugin.findings"

local plugin_routes = {}


local function check(plugin, definition, i)
  local at = ("plugins/%s/handler.lua: route %d: "):format(plugin, i)
  local head = "/plugins/" .. plugin .. "/"
  if type(definition) ~= "table" then error(at .. "it must be a table", 0) end
  if type(definition.path) ~= "string" or definition.path:sub(1, #head) ~= head then
    error(("%sthe path must begin with %s"):format(at, head), 0)
  end
end


local function group_of(plugin, make)
  local source = ("plugins/%s/handler.lua"):format(plugin.name)
  local routes = make(plugin.config)
  if type(routes) ~= "table" then error(source .. ": http.route must return a list", 0) end
  for i, definition in ipairs(routes) do check(plugin.name, definition, i) end
  return { source = source, plugin = plugin.name, routes = routes }
end


function plugin_routes.groups()
  local out = {}
  for _, plugin in ipairs(dispatch.plugins()) do
    local make = plugin.handlers["http.route"]
    if make then out[#out + 1] = findings.try(plugin.name, group_of, plugin, make) end
  end
  return out
end


return plugin_routes
