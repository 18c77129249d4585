-- What luacheck holds every Lua file of the project to; `luacheck .` from the top.
std = "luajit"
max_line_length = 100
cache = false

exclude_files = {
  "build/**",
  "lua/types/**",
  "web/**",
  "node_modules/**",
}

-- An unused `self` or a callback's unused argument is the shape of an interface, not a slip.
self = false
unused_args = false
