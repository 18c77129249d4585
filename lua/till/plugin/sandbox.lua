-- till/plugin/sandbox - what a plugin sees: the language and the promised part of the library.
--
--   sandbox.load(manifest, path) -> what the file returned; throws with file and line
--
-- Plugins are trusted code of the operator: this keeps them honest about what they use, so that the
-- server may change everything else; it is no jail. They may require
--   till.util.*  till.money  till.rule.*                      pure
--   till.prim.{co conf crypto http json lock log metrics redis time ulid utf8}
--   till.prim.sql                                             with the capability "sql"
--   plugins.NAME.part                                         their own file plugins/NAME/part.lua
-- A plugin has no globals of its own, and no state between calls but in its upvalues at load.
local bundle = require "till.prim.bundle"

local sandbox = {}

local PRIM = { co = true, conf = true, crypto = true, http = true, json = true, lock = true,
  log = true, metrics = true, redis = true, time = true, ulid = true, utf8 = true }
local NEEDS_CAPABILITY = { sql = true }

local GLOBALS = {
  assert = assert, bit = bit, error = error, getmetatable = getmetatable, ipairs = ipairs,
  math = math, next = next, pairs = pairs, pcall = pcall, rawequal = rawequal, rawget = rawget,
  rawset = rawset, select = select, setmetatable = setmetatable, string = string, table = table,
  tonumber = tonumber, tostring = tostring, type = type, unpack = unpack, xpcall = xpcall,
}


local function has(manifest, capability)
  for _, given in ipairs(manifest.capabilities) do
    if given == capability then return true end
  end
  return false
end


local function is_promised(manifest, module)
  if module == "till.money" or module:find("^till%.util%.") or module:find("^till%.rule%.") then
    return true
  end
  local prim = module:match("^till%.prim%.(%l+[%d]*)$")
  if not prim then return false end
  return PRIM[prim] or NEEDS_CAPABILITY[prim] and has(manifest, prim)
end


local function refuse(manifest, module)
  local prim = module:match("^till%.prim%.(%l+)$")
  if prim and NEEDS_CAPABILITY[prim] then
    error(('%s: put "%s" into `capabilities` of plugins/%s/plugin.lua'):format(
      module, prim, manifest.name), 3)
  end
  error(("%s: a plugin may require till.util.*, till.money, till.rule.*, till.prim.{co, conf,"
    .. " crypto, http, json, lock, log, metrics, redis, time, ulid, utf8} and its own plugins.%s.*")
    :format(module, manifest.name), 3)
end


local function environment(manifest, load_part)
  local visible = {}
  for name, value in pairs(GLOBALS) do visible[name] = value end

  function visible.require(module)
    local own, part = module:match("^plugins%.([%l%d-]+)%.(.+)$")
    if own == manifest.name then return load_part(part) end
    if is_promised(manifest, module) then return require(module) end
    refuse(manifest, module)
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


function sandbox.load(manifest, path)
  local parts, env = {}, nil

  local function load_part(part)
    if not part:find("^[%l%d_]+$") then error("a part is named in small letters: " .. part, 3) end
    if parts[part] == nil then
      local file = ("plugins/%s/%s.lua"):format(manifest.name, part)
      if not bundle.read(file) then error("there is no " .. file, 3) end
      parts[part] = compile(file, env)() or true
    end
    return parts[part]
  end

  env = environment(manifest, load_part)
  return compile(path, env)()
end


return sandbox
