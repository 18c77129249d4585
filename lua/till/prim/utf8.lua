-- till/prim/utf8 - what text may be.
--
--   valid(s)  is it UTF-8?   clean(s)  is it UTF-8 without NUL?
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.utf8"

require("till.util.text").use(c)

return c
