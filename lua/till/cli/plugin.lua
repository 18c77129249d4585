-- till/cli/plugin - `moontill plugin new|test|check`, and `vet`, which a reload runs aside.
--
-- `test`, `check` and `vet` run in a VM whose process is "check": there the loader has gathered
-- what is wrong instead of refusing (till.plugin.findings), and serve/check.c ends what hangs.
local bundle = require "till.prim.bundle"
local file = require "till.prim.file"
local findings = require "till.plugin.findings"
local json = require "till.prim.json"
local requires = require "till.cli.plugin.requires"
local say = require "till.cli.say"
local specs = require "till.cli.plugin.specs"
local term = require "till.prim.term"
local text = require "till.util.text"

local HELP = [[
usage: moontill plugin new KIND-NAME [--plugins DIR]     writes a folder that works
       moontill plugin test NAME [--plugins DIR] [--filter PATTERN]     runs its specs
       moontill plugin check [NAME] [--plugins DIR] [--json]     all that a load would refuse

KIND is promo, cart, shipping, tax, payment, order, job, webhook or http: which hooks it begins
with. `test` needs no database, unless a spec asks for one: then --var DIR names a
`moontill dev --no-demo`, which specs empty. Exit code 1 where something is wrong.
]]


local function misuse(why)
  return say.misused("plugin", why, HELP)
end


-- { words, dirs, filter, json }
local function parse(args)
  local out, i = { words = {}, dirs = {} }, 1
  while args[i] do
    local word = args[i]
    if word == "--dir" or word == "--filter" then
      i = i + 1
      if word == "--dir" then table.insert(out.dirs, args[i]) else out.filter = args[i] end
    elseif word == "--json" then
      out.json = true
    else
      table.insert(out.words, word)
    end
    i = i + 1
  end
  return out
end


local function names_in_bundle()
  local names = {}
  for _, path in ipairs(bundle.list("plugins/")) do
    local name = path:match("^plugins/([^/]+)/")
    if name and name ~= names[#names] then names[#names + 1] = name end
  end
  return names
end


local function folder_of(dirs, name)
  for _, dir in ipairs(dirs) do
    if file.stat(dir .. "/" .. name) then return dir .. "/" .. name end
  end
end


local function is_there(names, name)
  for _, known in ipairs(names) do
    if known == name then return true end
  end
  local near = text.nearest(name, names)
  return false, ("there is no plugin %s%s"):format(name,
    near and "; was " .. near .. " meant?" or "; --plugins DIR names the folder that holds its own")
end


local function of_plugin(name)
  local out = {}
  for _, finding in ipairs(findings.list()) do
    if not name or finding.plugin == name or not finding.plugin then out[#out + 1] = finding end
  end
  return out
end


local function tell(found)
  for _, finding in ipairs(found) do
    term.write((finding.at and finding.at .. ": " or "") .. finding.message .. "\n")
  end
end


-- No fault, but whoever has just written it will look for it in vain.
local function tell_left_out(name)
  local reason = name and findings.left_out(name)
  if reason then term.write(("plugins.%s: it is left out: %s\n"):format(name, reason)) end
end


local function check(args)
  local name, names = args.words[2], names_in_bundle()
  local known, why = true, nil
  if name then known, why = is_there(names, name) end
  if not known then return say.refused("plugin check", why) end
  for _, each in ipairs(name and { name } or names) do requires.check(each) end
  local found = of_plugin(name)
  if args.json then
    term.write(json.encode { ok = #found == 0, plugins = json.array(name and { name } or names),
      findings = json.array(found) } .. "\n")
  else
    tell(found)
    tell_left_out(name)
    term.write(("%d plugin%s checked, %d finding%s\n"):format(name and 1 or #names,
      (name or #names == 1) and "" or "s", #found, #found == 1 and "" or "s"))
  end
  return #found == 0 and 0 or 1
end


local function test(args)
  local name = args.words[2]
  if not name then return misuse("test needs the name of a plugin") end
  local known, why = is_there(names_in_bundle(), name)
  if not known then return say.refused("plugin test", why) end
  local folder = folder_of(args.dirs, name)
  local result = specs.run(name, folder, { filter = args.filter,
    print = function(line) term.write(line .. "\n") end })
  if result.files == 0 then
    return say.refused("plugin test", ("%s has no spec: write plugins/%s/%s_spec.lua"):format(name,
      name, (name:gsub("-", "_"))))
  end
  term.write(("%d passed, %d failed, %d skipped\n"):format(result.passed, result.failed,
    result.skipped))
  return result.failed == 0 and 0 or 1
end


local function advice_for(message)
  if not message:find("in this process", 1, true) then return "" end
  return "\na reload tries specs without a database: begin the test with t.empty_shop(), then it is"
    .. " skipped there"
end


-- Before a reload: whatever the load has found, then the specs of the plugins that were named.
local function vet(args)
  if #findings.list() == 0 then
    for i = 2, #args.words do
      local name = args.words[i]
      local folder = folder_of(args.dirs, name)
      local result = folder and specs.run(name, folder, { print = function() end })
      for _, failure in ipairs(result and result.failures or {}) do
        findings.add(name, ("%s: its spec failed: %s: %s%s"):format(failure.at, failure.name,
          failure.message, advice_for(failure.message)))
      end
    end
  end
  tell(findings.list())
  return #findings.list() == 0 and 0 or 1
end


local plugin = {}

local COMMANDS = { check = check, test = test, vet = vet }


function COMMANDS.new(args)
  return require("till.cli.plugin.new").run(args.words[2], args.dirs, misuse)
end


--- @return the exit code
function plugin.main(...)
  local args = parse({ ... })
  local command = args.words[1]
  if command == "--help" or args.words[2] == "--help" then
    term.write(HELP)
    return 0
  end
  if not COMMANDS[command] then
    return misuse((command and command .. ": " or "") .. "new, test or check?")
  end
  return COMMANDS[command](args)
end


return plugin
