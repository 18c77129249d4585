-- run.lua - runs the Lua specs under plain luajit, from the top of the checkout:
--
--   luajit tests/lua/run.lua [--filter PATTERN] [files...]
--
-- Without files every *_spec.lua below tests/lua, by name; what specs share is required from
-- tests/lua as "support.<name>". The last line is the count; exit 1
-- when something failed.
package.path = "lua/?.lua;lua/?/init.lua;tests/lua/?.lua;" .. package.path

local test = require "till.test"


local function find_specs()
  local files = {}
  local pipe = assert(io.popen("find tests/lua -name '*_spec.lua'"))
  for path in pipe:lines() do files[#files + 1] = path end
  pipe:close()
  table.sort(files)
  return files
end


local function parse(argv)
  local files, filter = {}, nil
  local i = 1
  while argv[i] do
    if argv[i] == "--filter" then
      filter = argv[i + 1]
      i = i + 1
    else
      files[#files + 1] = argv[i]
    end
    i = i + 1
  end
  if #files == 0 then files = find_specs() end
  return files, filter
end


local files, filter = parse(arg)
local result = test.run(files, { filter = filter })
print(string.format("%d passed, %d failed, %d skipped",
  result.passed, result.failed, result.skipped))
os.exit(result.failed == 0 and 0 or 1)
