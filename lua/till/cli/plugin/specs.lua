-- till/cli/plugin/specs - the specs of one plugin, run in this VM.
--
--   specs.run(name, folder [, { filter=, print= }])
--     -> { files=, passed=, failed=, skipped=, failures = { { name=, at=, message= }, ... } }
--
-- They go by "plugins/NAME/x_spec.lua", wherever the folder lies. One that cannot be read has
-- failed.
local co = require "till.prim.co"
local file = require "till.prim.file"
local test = require "till.test"

local specs = {}


local function list(name, folder)
  local paths, disk = {}, {}
  for _, entry in ipairs(file.list(folder) or {}) do
    if entry:find("_spec%.lua$") then
      local path = "plugins/" .. name .. "/" .. entry
      paths[#paths + 1] = path
      disk[path] = folder .. "/" .. entry
    end
  end
  return paths, disk
end


function specs.run(name, folder, opts)
  local paths, disk = list(name, folder)

  local function load(path)
    local source, err = file.read(disk[path])
    if not source then return nil, tostring(err) end
    return file.load(source, path)
  end

  co.enter(name, "specs")
  local result = test.run(paths, { load = load, filter = opts.filter, print = opts.print })
  co.leave()
  result.files = #paths
  return result
end


return specs
