-- till/prim/data - tables in Lua's syntax that are parsed and never run.
--
--   parse(text) -> table | nil, "line 12: ..."; env("NAME") and file("/path") become
--   { ["$env"] = "NAME" } and { ["$file"] = "/path" } (see till.prim.conf)
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.data"

return c
