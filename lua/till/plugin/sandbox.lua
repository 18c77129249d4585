-- till/plugin/sandbox - what a plugin sees: the language and the promised part of the library.
--
--   sandbox.load(manifest, path, text, read) -> what the file returned; throws with file and line
--
-- Plugins are trusted code of the operator: this keeps them honest about what they use, so that the
-- server may change everything else; it is no jail. They may require
--   till.util.*  till.money  till.rule.*                      pure
--   till.prim.{co conf crypto http json lock log metrics redis time ulid utf8}
--   till.prim.sql                                             with the capability "sql"
--   plugins.NAME.part                                         their own file plugins/NAME/part.lua
-- A plugin has no globals of its own, and no state between calls but in its upvalues at load.
local text = require "till.util.text"

local sandbox = {}

local PRIM = { co = true, conf = true, crypto = true, http = true, json = true, lock = true,
  log = true, metrics = true, redis = true, time = true, ulid = true, utf8 = true }
local NEEDS_CAPABILITY = { sql = true }

local GLOBALS = { "assert", "bit", "error", "getmetatable", "ipairs", "math", "next", "pairs",
  "pcall", "print", "rawequal", "rawget", "rawset", "select", "setmetatable", "string", "table",
  "tonumber", "tostring", "type", "unpack", "xpcall" }


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
  for _, name in ipairs(GLOBALS) do visible[name] = _G[name] end

  function visible.require(module)
    local own, part = module:match("^plugins%.([%l%d-]+)%.(.+)$")
    if own == manifest.name then return load_part(part) end
    if is_promised(manifest, module) then return require(module) end
    refuse(manifest, module)
  end

  visible._G = nil
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


local function compile(path, source, env)
  if source:byte(1) == 27 then error(path .. ": bytecode is not taken", 0) end
  if not text.valid(source) then error(path .. ": must be UTF-8", 0) end
  local chunk, why = loadstring(source, "@" .. path)
  if not chunk then error(why, 0) end
  return setfenv(chunk, env)
end


--- `read(path)` -> text or nil.
function sandbox.load(manifest, path, source, read)
  local parts, env = {}, nil

  local function load_part(part)
    if not part:find("^[%l%d_]+$") then error("a part is named in small letters: " .. part, 3) end
    if parts[part] == nil then
      local file = ("plugins/%s/%s.lua"):format(manifest.name, part)
      local content = read(file)
      if not content then error("there is no " .. file, 3) end
      parts[part] = compile(file, content, env)() or true
    end
    return parts[part]
  end

  env = environment(manifest, load_part)
  return compile(path, source, env)()
end


return sandbox
