-- till/prim/status - the one table of ways to fail (core/base/status.h).
--
--   table[code] -> { retryable=, http=, title= }
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.status"

return c
