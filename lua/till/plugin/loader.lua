-- till/plugin/loader - all plugins of a generation, checked; anything wrong refuses the generation.
--
--   loader.load() -> { plugins in the order in which they are asked }, { names left out = reason }
--   loader.one(name, options) -> plugin, as if these stood in the configuration; for specs
--   plugin = { name, version, priority, hooks = {...}, manifest, config, handlers = { hook = fn },
--              schedules = { job = when } }
--
-- A shop without its tax plugin writes wrong invoices, so nothing that is there is passed over in
-- silence: what does not load stops the load and the generation that runs stays. Left out are only
-- plugins that say `enabled = false` in the configuration, those that need options and are not
-- mentioned there at all, and those that opt in (`opt_in` in plugin.lua) without `enabled = true`.
local bundle = require "till.prim.bundle"
local capabilities = require "till.plugin.capabilities"
local conf = require "till.prim.conf"
local config = require "till.plugin.config"
local copy = require "till.util.copy"
local findings = require "till.plugin.findings"
local manifest = require "till.plugin.manifest"
local sandbox = require "till.plugin.sandbox"
local schedule = require "till.util.schedule"
local http = require "till.prim.http"
local log = require "till.prim.log"
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
      error(("%s: hook %s is declared but not there: return a function of this name, or take it"
        .. " out of `hooks` in plugin.lua"):format(path, hook), 0)
    end
  end
  for hook in pairs(handlers) do
    if not declared[hook] then
      error(("%s: hook %s is there but not declared in plugin.lua: put it into `hooks`"):format(
        path, tostring(hook)), 0)
    end
  end
end


-- "config.rates[2].percent: at most 100" is looked up where it was configured.
local function place_of(name, why)
  local option = why:match("^config%.([^:]+):")
  local place = conf.place(option and name .. "." .. option or name)
  return place and place .. ": " or ""
end


local function warn_of_deprecated(m, options, is_configured)
  for _, each in ipairs(is_configured and config.deprecated(m.config, options) or {}) do
    log.warn("plugin.deprecated", { plugin = m.name, what = "config." .. each[1],
      instead = each[2], at = conf.place(m.name .. "." .. each[1]) or "?" })
  end
end


local function options_of(m, given, is_configured)
  local options = {}
  for key, value in pairs(given or {}) do
    if key ~= "enabled" then options[key] = value end
  end
  local out, why = config.resolve(m.config, options)
  if out then
    warn_of_deprecated(m, options, is_configured)
    return out
  end
  error(("%splugins.%s: %s"):format(is_configured and place_of(m.name, why) or "", m.name, why), 0)
end


-- Its requests are counted by host.
local function name_hosts(owner)
  for _, host in ipairs(capabilities.hosts(owner)) do http.name_host((host:gsub(":%d+$", ""))) end
end


local function handlers_of(owner)
  local m = owner.manifest
  local path = ("plugins/%s/handler.lua"):format(m.name)
  if not bundle.read(path) then
    error(path .. ": it is not there: the file returns the functions of `hooks`", 0)
  end
  local handlers = sandbox.load(owner, path)
  check_handlers(m, path, handlers)
  return handlers
end


-- The hook plugin.check: nil, or a sentence about its options.
local function ask(plugin)
  local check = plugin.handlers["plugin.check"]
  if not check then return end
  local sentence, failure = check(plugin.config)
  local why = sentence or failure
  if why then
    error(("%splugins.%s: %s"):format(place_of(plugin.name, ""), plugin.name, tostring(why)), 0)
  end
end


-- When its jobs come, with what the options say of it.
local function schedules_of(m, options)
  local out = {}
  for job, when in pairs(m.schedules or {}) do
    local option = when:match("^config%.([%w_]+)$")
    if option then when = options[option] or "off" end
    if when ~= "off" then
      local spec, why = schedule.parse(when)
      if not spec then
        error(("%splugins.%s: config.%s: %s"):format(place_of(m.name,
          ("config.%s:"):format(option)), m.name, option, why), 0)
      end
      out[job] = when
    end
  end
  return out
end


-- `try` calls what may be wrong: each by itself, for a check wants to know of all.
local function load_one(m, given, try, is_configured)
  local owner = { manifest = m }
  local handlers = try(m.name, handlers_of, owner)
  local options = try(m.name, options_of, m, given, is_configured)
  if not handlers or not options then return nil end
  owner.config = copy.deep(options) -- what the plugin does to its own allows it nothing
  name_hosts(owner)
  local plugin = { name = m.name, version = m.version, priority = m.priority, hooks = m.hooks,
    waits = m.waits ~= false, manifest = m, config = options, handlers = handlers }
  plugin.schedules = try(m.name, schedules_of, m, options)
  try(m.name, ask, plugin)
  return plugin
end


local function check_names(given, names)
  local known = {}
  for _, name in ipairs(names) do known[name] = true end
  for name in pairs(given) do
    if not known[name] then
      local near = text.nearest(tostring(name), names)
      findings.add(nil, ("%splugins.%s: there is no such plugin%s"):format(
        place_of(tostring(name), ""), tostring(name),
        near and "; was " .. near .. " meant?" or ": take it out, or add its folder"))
    end
  end
end


local function read_manifest(name)
  local path = ("plugins/%s/plugin.lua"):format(name)
  return manifest.read(name, bundle.read(path) or error(path .. ": it is not there", 0))
end


local function throwing(_, fn, ...)
  return fn(...)
end


function loader.one(name, options)
  return load_one(read_manifest(name), options, throwing)
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
    local m = findings.try(name, read_manifest, name)
    local reason = m and left_out(m, given[name])
    if reason then
      out[name] = reason
      findings.leave_out(name, reason)
    elseif m then
      plugins[#plugins + 1] = load_one(m, given[name], findings.try, true)
    end
  end
  table.sort(plugins, function(a, b)
    if a.priority ~= b.priority then return a.priority > b.priority end
    return a.name < b.name
  end)
  return plugins, out
end


return loader
