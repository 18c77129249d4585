-- till/prim/data - tables in Lua's syntax that are parsed and never run.
--
--   parse(text) -> table | nil, "line 12: ..."; env("NAME") and file("/path") become
--   { ["$env"] = "NAME" } and { ["$file"] = "/path" } (see till.prim.conf)
return require "till.c.data"
