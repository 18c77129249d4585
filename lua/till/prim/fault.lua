-- till/prim/fault - named faults that tests arm; the names stand in core/base/fault.c.
--
--   fires "name"  -> whether it happens now; counts it down
--   crash "name"     if it happens, this process is killed here, as by kill -9
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.fault"

return c
