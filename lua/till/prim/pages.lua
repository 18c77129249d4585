-- till/prim/pages - answers that the core gives again for a moment, without asking Lua.
--
--   drop()      forgets them; till.cache does so whenever it forgets anything
--
-- A handler lets its answer be kept: ctx:json(200, body, { keep_ms = n }).
return require "till.c.pages"
