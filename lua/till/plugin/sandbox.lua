-- till/plugin/sandbox - what a plugin sees: the language and the promised part of the library.
--
--   sandbox.load(owner, path)  -> what the file returned; throws with file and line
--                                 owner = { manifest =, config = its options, once they are known }
--   sandbox.refusal(manifest, module) -> nil, or why a plugin may not require it
--
-- Plugins are trusted code of the operator: this keeps them honest about what they use, so that the
-- server may change everything else; it is no jail. They may require what till.plugin.surface
-- lists, as far as their capabilities go, and plugins.NAME.part: their own plugins/NAME/part.lua.
-- What they get are copies of their own (till.plugin.guards).
-- A plugin has no globals of its own, and no state between calls but in its upvalues at load.
local bundle = require "till.prim.bundle"
local capabilities = require "till.plugin.capabilities"
local guards = require "till.plugin.guards"
local surface = require "till.plugin.surface"
local text = require "till.util.text"

local sandbox = {}

local GLOBALS = {
  assert = assert, bit = bit, error = error, ipairs = ipairs,
  math = math, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, string = string, table = table,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall,
}


-- Those of strings, errors and the rest of the library are everybody's: a plugin sees its own.
local metas = setmetatable({}, { __mode = "k" })


function GLOBALS.setmetatable(value, meta)
  if type(meta) == "table" then metas[meta] = true end
  return setmetatable(value, meta)
end


function GLOBALS.getmetatable(value)
  local meta = getmetatable(value)
  if type(meta) == "table" and not metas[meta] or type(value) == "string" then return false end
  return meta
end


local NEEDED = { amqp = '"amqp:HOST"', http = '"http:HOST"', sql = '"sql"', redis = '"redis"' }


local function names()
  local out = {}
  for _, module in ipairs(surface.modules) do out[#out + 1] = module.module end
  return out
end


function sandbox.refusal(manifest, module)
  if module:find("^plugins%.") then
    local own, part = module:match("^plugins%.([%l%d-]+)%.([%l%d_]+)$")
    local file = ("plugins/%s/%s.lua"):format(manifest.name, tostring(part))
    if own ~= manifest.name then return module .. ": that is no file of this plugin" end
    return not bundle.read(file) and "there is no " .. file or nil
  end
  local promised = surface.by_name[module]
  if not promised then
    local near = text.nearest(module, names())
    return ("%s: not for plugins%s; docs/plugins.md lists what is"):format(module,
      near and "; was " .. near .. " meant?" or "")
  end
  if promised.needs and not capabilities.has(manifest, promised.needs) then
    return ("%s: put %s into `capabilities` of plugins/%s/plugin.lua"):format(module,
      NEEDED[promised.needs], manifest.name)
  end
end


local function copy(library)
  local out = {}
  for name, value in pairs(library) do out[name] = value end
  return out
end


local function environment(owner, load_part)
  local visible, given = {}, {}
  for name, value in pairs(GLOBALS) do
    visible[name] = type(value) == "table" and copy(value) or value
  end

  function visible.require(module)
    if type(module) ~= "string" then error("require needs the name of a module", 2) end
    if given[module] then return given[module] end
    local why = sandbox.refusal(owner.manifest, module)
    if why then error(why, 2) end
    local part = module:match("^plugins%.[%l%d-]+%.(.+)$")
    if part then return load_part(part) end
    given[module] = guards.module(owner, module)
    return given[module]
  end

  return setmetatable({}, {
    __index = function(_, name)
      local value = visible[name]
      if value == nil then
        error(("there is no global `%s` for plugins"):format(tostring(name)), 2)
      end
      return value
    end,
    __newindex = function(_, name)
      error(("a plugin has no globals: write `local %s`"):format(tostring(name)), 2)
    end,
    __metatable = false,
  })
end


local function compile(path, env)
  local chunk, why = bundle.load(path, env)
  if not chunk then error(why, 0) end
  return chunk
end


function sandbox.load(owner, path)
  local parts, loading, env = {}, {}, nil

  local function load_part(part)
    local file = ("plugins/%s/%s.lua"):format(owner.manifest.name, part)
    if loading[part] then error(file .. " requires itself, by way of others", 3) end
    if parts[part] == nil then
      loading[part] = true
      local value = compile(file, env)()
      parts[part], loading[part] = value == nil and true or value, nil
    end
    return parts[part]
  end

  env = environment(owner, load_part)
  return compile(path, env)()
end


return sandbox
