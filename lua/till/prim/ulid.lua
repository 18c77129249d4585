-- till/prim/ulid - ids that sort by time.
--
--   new() -> 16 bytes;  text(bin) -> 26 characters;  bin(text) -> 16 bytes | nil
return require "till.c.ulid"
