-- till/prim/ulid - ids that sort by time.
--
--   new() -> 16 bytes;  text(bin) -> 26 characters;  bin(text) -> 16 bytes | nil
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.ulid"

require("till.util.id").use(c)

return c
