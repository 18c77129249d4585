-- lint-sizes.lua - how long files and functions may be; one line a violation.
--
-- C: a file 700 lines, a function 60 between its braces (which stand in column one, as
-- clang-format puts them). Lua: a file 350, a function 60, measured by LuaJIT itself, so that
-- nothing of the syntax is guessed. In specs `describe` wraps everything: only files count.
local jit_util = require "jit.util"

local MAX = { c_file = 700, c_function = 60, lua_file = 350, lua_function = 60 }

local violations = 0


local function complain(path, line, ...)
  violations = violations + 1
  print(string.format("%s:%d: %s", path, line, string.format(...)))
end


local function read_lines(path)
  local lines = {}
  for line in io.lines(path) do lines[#lines + 1] = line end
  return lines
end


local function check_length(path, lines, max)
  if #lines > max then complain(path, max + 1, "%d lines, at most %d", #lines, max) end
end


local function check_c(path)
  local lines = read_lines(path)
  local head, start = "?", nil
  check_length(path, lines, MAX.c_file)
  for number, line in ipairs(lines) do
    if line == "{" then
      start = number
    elseif line == "}" and start then
      local length = number - start - 1
      if length > MAX.c_function then
        complain(path, start, "%s() has %d lines, at most %d", head, length, MAX.c_function)
      end
      start = nil
    elseif not start then
      head = line:match("^[%a_].-([%w_]+)%(") or head
    end
  end
end


local function check_protos(path, proto)
  for index = -1, -math.huge, -1 do
    local child = jit_util.funck(proto, index)
    if child == nil then return end
    if type(child) == "proto" then
      local info = jit_util.funcinfo(child)
      local length = info.lastlinedefined - info.linedefined + 1
      if length > MAX.lua_function then
        complain(path, info.linedefined, "a function of %d lines, at most %d",
          length, MAX.lua_function)
      end
      check_protos(path, child)
    end
  end
end


local function check_lua(path)
  check_length(path, read_lines(path), MAX.lua_file)
  local chunk, message = loadfile(path)
  if not chunk then
    complain(path, 1, "%s", message)
  elseif not path:find("_spec%.lua$") then
    check_protos(path, chunk)
  end
end


local function each_file(command, fn)
  local pipe = assert(io.popen(command))
  for path in pipe:lines() do fn(path) end
  pipe:close()
end


each_file("find core tests/core tests/fuzz -name '*.[ch]' 2>/dev/null | sort", check_c)
each_file("find lua plugins tests/lua scripts -name '*.lua' 2>/dev/null | sort", check_lua)

os.exit(violations == 0 and 0 or 1)
