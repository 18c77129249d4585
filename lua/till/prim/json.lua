-- till/prim/json - JSON (RFC 8259), strict on the way in, the same bytes for the same value out.
--
--   encode(v)     -> string; keys sorted. Throws on functions, NaN, cycles, arrays with holes and
--                    objects with keys that are no strings.
--   decode(text)  -> value | nil, err("malformed_json", err.offset = where in bytes)
--                    Duplicate keys, broken UTF-8, NUL and depth over 64 are refused.
--   decode_foreign(text)  the same of what a client sent: refused besides, with
--                    err("card_number_refused"), where it holds the number of a payment card
--   null          the value for null
--   array(t)      marks t as an array (an empty unmarked table is an object) and returns it
--   raw(text)     a value that encode puts in as it is: text that encode made
--   array_mt      the mark: the metatable that decoded arrays carry
local c = require "till.c.json"

local json = { encode = c.encode, decode = c.decode, decode_foreign = c.decode_foreign,
  null = c.null, array_mt = c.array_mt, raw = c.raw }


function json.array(t)
  return setmetatable(t, c.array_mt)
end


return json
