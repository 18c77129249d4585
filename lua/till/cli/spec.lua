-- till/cli/spec - runs specs in the real VM: moontill spec [--var DIR] [--filter PATTERN] PATH...
--
-- A path is a spec or a folder whose *_spec.lua below it are run, by name. Modules come from the
-- generation (so what is tested is what is loaded); `require "tests.support.x"` is
-- tests/lua/support/x.lua. `--var DIR` gives the specs of stores and flows the database and Redis
-- of `moontill dev --no-demo --var DIR`, which they empty. A test fails too where something waits
-- for others within a transaction (till.test.held). The last line is the count; exit 1 when
-- something failed.
local file = require "till.prim.file"
local term = require "till.prim.term"
local held = require "till.test.held"
local test = require "till.test"

local spec = {}


local function collect(path, into)
  local known, err = file.stat(path)
  if not known then return nil, err end
  if not known.is_dir then
    into[#into + 1] = path
    return true
  end
  for _, name in ipairs(file.list(path)) do
    local below = path .. "/" .. name
    if name:find("_spec%.lua$") then
      into[#into + 1] = below
    elseif not name:find(".", 1, true) then
      local ok, failure = collect(below, into)
      if not ok then return nil, failure end
    end
  end
  return true
end


local function load_spec(path)
  local text, err = file.read(path)
  if not text then return nil, tostring(err) end
  return file.load(text, path)
end


local function parse(...)
  local paths, filter = {}, nil
  local args = { ... }
  local i = 1
  while args[i] do
    if args[i] == "--filter" then
      filter = args[i + 1]
      i = i + 1
    else
      paths[#paths + 1] = args[i]
    end
    i = i + 1
  end
  return paths, filter
end


function spec.main(...)
  local paths, filter = parse(...)
  if #paths == 0 then
    term.err("moontill spec [--var DIR] [--filter PATTERN] PATH...\n")
    return 2
  end
  local files = {}
  for _, path in ipairs(paths) do
    local ok, err = collect(path, files)
    if not ok then
      term.err("moontill spec: " .. tostring(err) .. "\n")
      return 2
    end
  end
  held.watch()
  local result = test.run(files, {
    load = load_spec, filter = filter, check = held.found,
    print = function(text) term.write(text .. "\n") end,
  })
  term.write(string.format("%d passed, %d failed, %d skipped\n",
    result.passed, result.failed, result.skipped))
  return result.failed == 0 and 0 or 1
end


return spec
