-- lint-requires.lua - a Lua module requires only layers before its own (docs/lua.md), and a
-- plugin only what docs/plugins.md promises. Literal names only; one line a violation.

-- Layer -> what it may require. `pure` are the bindings that compute and never wait.
local ALLOWED = {
  util = { "util", "pure" },
  money = { "util" },
  prim = { "util", "money", "prim", "pure", "c" }, -- till.c.*: the bindings themselves
  rule = { "util", "money", "rule", "pure" },
  cache = { "util", "prim", "pure" },
  loader = { "util", "prim", "pure" },
  store = { "util", "money", "prim", "pure", "cache", "loader", "store" },
  plugin = { "util", "money", "prim", "pure", "rule", "store", "plugin" },
  flow = { "util", "money", "prim", "pure", "cache", "loader", "rule",
    "store", "plugin", "flow" },
  http = { "util", "money", "prim", "pure", "cache", "loader", "rule",
    "store", "plugin", "flow", "http" },
  cli = { "util", "money", "prim", "pure", "cache", "loader", "rule",
    "store", "plugin", "flow", "http", "cli", "test" },
  test = { "util", "money", "prim", "pure", "rule", "store", "plugin", "flow", "http", "test" },
  a_plugin = { "util", "money", "prim", "pure", "rule" },
}

local PURE = { status = true, ulid = true, utf8 = true, json = true, crypto = true, data = true }
-- LuaJIT's own modules; ffi is for C values and not for plugins
local BUILTIN = { bit = true, ffi = true, ["table.new"] = true, ["table.clear"] = true }

local violations = 0


local function complain(path, line, text)
  violations = violations + 1
  print(string.format("%s:%d: %s", path, line, text))
end


local function layer_of(name)
  if name == "till.main" then return "main" end
  local layer, rest = name:match("^till%.([%w_]+)%.?(.*)$")
  if layer == "prim" and PURE[rest] then return "pure" end
  return layer
end


local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end


local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end


-- A plugin's own files, by the name they have inside its folder.
local function is_own(path, name)
  local folder = path:match("^(plugins/[^/]+)/")
  local inside = name:gsub("^plugins%.[^.]+%.", ""):gsub("%.", "/")
  return folder ~= nil and exists(folder .. "/" .. inside .. ".lua")
end


local function check_require(path, line, layer, name)
  local target = layer_of(name)
  if layer == "main" then return end
  if BUILTIN[name] and not (layer == "a_plugin" and name == "ffi") then return end
  if layer == "a_plugin" and is_own(path, name) then return end
  if target == "test" and path:find("_spec%.lua$") then return end
  if not (target and contains(ALLOWED[layer], target)) then
    local who = layer == "a_plugin" and "a plugin" or "till." .. layer
    complain(path, line, who .. " may not require " .. name)
  end
end


local function check_file(path, layer)
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local code = line:gsub("%-%-.*$", "")
    for name in code:gmatch("require%s*%(?%s*[\"']([^\"']+)[\"']") do
      check_require(path, number, layer, name)
    end
  end
end


local function each_file(folder, fn)
  local pipe = assert(io.popen("find " .. folder .. " -name '*.lua' 2>/dev/null | sort"))
  for path in pipe:lines() do fn(path) end
  pipe:close()
end


each_file("lua/till", function(path)
  local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  local layer = layer_of(name)
  if layer == "pure" then layer = "prim" end
  if layer == "main" or ALLOWED[layer] then
    check_file(path, layer)
  else
    complain(path, 1, "there is no layer till." .. tostring(layer) .. "; see docs/lua.md")
  end
end)

each_file("plugins", function(path) check_file(path, "a_plugin") end)

os.exit(violations == 0 and 0 or 1)
