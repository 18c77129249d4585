-- till/prim/status - the one table of ways to fail (core/base/status.h).
--
--   table[code] -> { retryable=, http=, title= }
return require "till.c.status"
