-- till/prim/time - clocks and moments.
--
--   now_ms()       wall clock, milliseconds since 1970: for what is stored and shown
--   mono_ms(), mono_us()  a clock that never steps: for what is measured
--   sleep(ms)      waits -> true | nil, err(cancelled, timeout); background calls are woken with
--                  `cancelled` when their generation ends
--   rfc3339(ms)    -> "2026-11-20T10:00:00.123Z"
--   sql(ms)        -> "2026-11-20 10:00:00.123" for DATETIME parameters
--   parse(text)    -> ms | nil; RFC 3339 with any offset, or SQL's form taken as UTC
local c = require "till.c.time"

local time = {
  now_ms = c.now_ms, mono_us = c.mono_us, sleep = c.sleep,
  rfc3339 = c.rfc3339, sql = c.sql, parse = c.parse,
}


function time.mono_ms()
  return c.mono_us() / 1000
end


return time
