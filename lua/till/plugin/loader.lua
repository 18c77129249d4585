-- till/plugin/loader - all plugins of a generation, checked; anything wrong refuses the generation.
--
--   loader.load() -> { plugins in the order in which they are asked }, { names left out = reason }
--   loader.one(name, options) -> plugin, as if these stood in the configuration; for specs
--   plugin = { name, version, priority, hooks = {...}, manifest, config, handlers = { hook = fn } }
--
-- A shop without its tax plugin writes wrong invoices, so nothing that is there is passed over in
-- silence: what does not load stops the load and the generation that runs stays. Left out are only
-- plugins that say `enabled = false` in the configuration, those that need options and are not
-- mentioned there at all, and those that opt in (`opt_in` in plugin.lua) without `enabled = true`.
local bundle = require "till.prim.bundle"
local conf = require "till.prim.conf"
local config = require "till.plugin.config"
local manifest = require "till.plugin.manifest"
local sandbox = require "till.plugin.sandbox"
local http = require "till.prim.http"
local text = require "till.util.text"

local loader = {}


local function names_in_bundle()
  local names = {}
  for _, path in ipairs(bundle.list("plugins/")) do
    local name = path:match("^plugins/([^/]+)/plugin%.lua$")
    if name then names[#names + 1] = name end
  end
  return names
end


local function check_handlers(m, path, handlers)
  if type(handlers) ~= "table" then
    error(path .. ": it must return a table of functions by hook", 0)
  end
  local declared = {}
  for _, hook in ipairs(m.hooks) do
    declared[hook] = true
    if type(handlers[hook]) ~= "function" then
      error(("%s: hook %s is declared but not there"):format(path, hook), 0)
    end
  end
  for hook in pairs(handlers) do
    if not declared[hook] then
      error(("%s: hook %s is there but not declared in plugin.lua"):format(path,
        tostring(hook)), 0)
    end
  end
end


local function options_of(m, given)
  local options = {}
  for key, value in pairs(given or {}) do
    if key ~= "enabled" then options[key] = value end
  end
  local out, why = config.resolve(m.config, options)
  if not out then error(("plugins.%s: %s"):format(m.name, why), 0) end
  return out
end


-- Those that it declares, and those that its options point to: its requests are counted by host.
local function name_hosts(m, options)
  for _, capability in ipairs(m.capabilities) do
    local host = capability:match("^http:(.+)$")
    if host then http.name_host(host) end
  end
  for _, value in pairs(options) do
    local host = type(value) == "string" and value:match("^https?://([^/:?#]+)")
    if host then http.name_host(host) end
  end
end


local function load_one(m, given)
  local path = ("plugins/%s/handler.lua"):format(m.name)
  if not bundle.read(path) then error(path .. ": it is not there", 0) end
  local handlers = sandbox.load(m, path)
  check_handlers(m, path, handlers)
  local options = options_of(m, given)
  name_hosts(m, options)
  return { name = m.name, version = m.version, priority = m.priority, hooks = m.hooks,
    waits = m.waits ~= false, manifest = m, config = options, handlers = handlers }
end


local function check_names(given, names)
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  for name in pairs(given) do
    if not known[name] then
      local near = text.nearest(tostring(name), names)
      error(("plugins.%s: there is no such plugin%s"):format(tostring(name),
        near and "; was " .. near .. " meant?" or ""), 0)
    end
  end
end


local function read_manifest(name)
  local path = ("plugins/%s/plugin.lua"):format(name)
  return manifest.read(name, bundle.read(path) or error(path .. ": it is not there", 0))
end


function loader.one(name, options)
  return load_one(read_manifest(name), options)
end


-- A reason to leave it out, or nil.
local function left_out(m, given)
  if given and given.enabled == false then return "disabled in the configuration" end
  if m.opt_in and not (given and given.enabled) then return "not enabled in the configuration" end
  if not given and not config.is_complete(m.config) then
    return "not configured: it needs options"
  end
end


function loader.load()
  local names, given, plugins, out = names_in_bundle(), conf.plugins() or {}, {}, {}
  check_names(given, names)
  for _, name in ipairs(names) do
    local m = read_manifest(name)
    local reason = left_out(m, given[name])
    if reason then
      out[name] = reason
    else
      plugins[#plugins + 1] = load_one(m, given[name])
    end
  end
  table.sort(plugins, function(a, b)
    if a.priority ~= b.priority then return a.priority > b.priority end
    return a.name < b.name
  end)
  return plugins, out
end


return loader
