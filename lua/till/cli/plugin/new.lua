-- till/cli/plugin/new - `moontill plugin new KIND-NAME`: a folder that loads, its spec passes.
local file = require "till.prim.file"
local kinds = require "till.cli.plugin.kinds"
local say = require "till.cli.say"
local term = require "till.prim.term"
local text = require "till.util.text"

local new = {}


-- { { path below the folder, text }, ... }
local function files_of(kind, name, root)
  local spec = (name:gsub("-", "_")) .. "_spec.lua"
  local out = {}
  for _, each in ipairs { { "plugin.lua", kind.manifest }, { "handler.lua", kind.handler },
    { spec, kind.spec }, { "README.md", kind.readme or kinds.README },
    { ".luarc.json", kinds.LUARC } } do
    local filled = each[2]:gsub("%%(%u+)%%", { NAME = name, TITLE = kind.title, ROOT = root,
      HOOKS = '"' .. table.concat(kind.hooks, '", "') .. '"' })
    out[#out + 1] = { each[1], filled }
  end
  return out
end


local function write(folder, files)
  local made, err = file.mkdir(folder)
  if not made then return nil, err end
  for _, each in ipairs(files) do
    made, err = file.write(folder .. "/" .. each[1], each[2])
    if not made then return nil, err end
  end
  return true
end


local NEXT = [[
%s
%s

  moontill plugin test %s
      its specs, in the server's own VM
  moontill plugin check %s
      all that a load would refuse
  moontill dev --watch%s
      a shop that reloads whenever a file is saved
  moontill reload
      makes it live in a server that runs

docs/hooks.md tells of every hook, docs/plugins.md of all that a plugin may use.
]]


local function tell(folder, files, name, args)
  local lines = {}
  for _, each in ipairs(files) do lines[#lines + 1] = "  " .. folder .. "/" .. each[1] end
  term.write(NEXT:format(folder .. " is there:", table.concat(lines, "\n"), name .. args,
    name .. args, args))
end


local function refuse(why)
  return say.refused("plugin new", why)
end


function new.run(name, dirs, misuse)
  if not name then return misuse("new needs a name such as promo-mine") end
  local word = name:match("^(%l+)%-[%l%d][%l%d-]*$")
  local kind = word and kinds.of[word]
  if not kind then
    local near = text.nearest(word or name, kinds.names)
    return refuse(("%s: a name is KIND-NAME in small letters, digits and hyphens, and KIND is %s%s")
      :format(name, text.list(kinds.names), near and "; was " .. near .. "-... meant?" or ""))
  end
  local dir = dirs[1]
  local files = files_of(kind, name, term.env("MOONTILL_ROOT") or ".")
  local done, err = write(dir .. "/" .. name, files)
  if not done then
    local is_there = err.code == "conflict"
    return refuse(is_there and err.message .. ": take another name, or remove it first"
      or tostring(err))
  end
  tell(dir .. "/" .. name, files, name, #dirs > 1 and " --plugins " .. dir or "")
  return 0
end


return new
