-- till/prim/csv - CSV (RFC 4180, UTF-8), row by row.
--
--   text(s)               -> reader
--   file(path)            -> reader | nil, err; in commands only; one packed with xz is unpacked on
--                            the way
--     reader:next(n)      -> up to n rows, each a list of strings with `line`; bad ones are
--                            { line=, error= }; nil at the end | nil, err
--     reader:progress()   -> share read, 0 to 1;  reader:close()
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.csv"

return c
