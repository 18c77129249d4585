-- till/cli/plugin/requires - what a plugin requires and may not, also where only a call would tell.
--
--   requires.check(name)   notes a finding for each `require "..."` of its files that is refused
local bundle = require "till.prim.bundle"
local findings = require "till.plugin.findings"
local manifest = require "till.plugin.manifest"
local sandbox = require "till.plugin.sandbox"

local requires = {}


local function check_file(m, path)
  local n = 0
  for line in (bundle.read(path) .. "\n"):gmatch("(.-)\n") do
    n = n + 1
    local code = line:gsub("%-%-.*$", "")
    for module in code:gmatch("require%s*%(?%s*[\"']([^\"']+)[\"']") do
      local why = sandbox.refusal(m, module)
      if why then findings.add(m.name, ("%s:%d: %s"):format(path, n, why)) end
    end
  end
end


-- A load has noted those at the top of a file already.
local function is_known(path)
  for _, finding in ipairs(findings.list()) do
    if finding.at and finding.at:sub(1, #path) == path then return true end
  end
  return false
end


function requires.check(name)
  local source = bundle.read(("plugins/%s/plugin.lua"):format(name))
  local good, m = pcall(manifest.read, name, source or "")
  if not good then return end
  for _, path in ipairs(bundle.list("plugins/" .. name .. "/")) do
    if not path:find("/plugin%.lua$") and not is_known(path) then check_file(m, path) end
  end
end


return requires
