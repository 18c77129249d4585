-- till/prim/bundle - the files of this generation, which never change.
--
--   read(path)         -> content | nil      "plugins/promo-bundle/plugin.lua"
--   list(prefix)       -> sorted paths
--   load(path [, env]) -> function | nil, message; compiled and not run. Messages and traces show
--                         path:line. With `env` that table is its globals.
--   overrun()          -> "file:line: reason" | nil, of what took more memory or stack than it
--                         may while this generation loads; told once
--
-- Modules: require "plugins.promo-bundle.handler" loads plugins/promo-bundle/handler.lua.
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.bundle"

return c
