-- till/prim/utf8 - what text may be.
--
--   valid(s)  is it UTF-8?   clean(s)  is it UTF-8 without NUL?
return require "till.c.utf8"
