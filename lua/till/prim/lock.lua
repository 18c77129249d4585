-- till/prim/lock - leased locks with fences, kept in Redis.
--
--   acquire(name [, { lease_ms=5000, wait_ms=1000 }]) waits -> lock | nil, err(busy, conn_lost)
--     lock:fence()    a number that only grows: write it beside what the lock protects
--     lock:release()  twice is allowed; the end of the call does it too
--   with(name, opts, fn(lock))  -> what fn returned, up to 4 values | nil, err; released also when
--     fn throws
local c = require "till.c.lock"

local lock = { acquire = c.acquire }


local function finish(held, good, ...)
  held:release()
  if not good then error((...), 0) end
  return ...
end


function lock.with(name, opts, fn)
  local held, err = c.acquire(name, opts)
  if not held then return nil, err end
  return finish(held, pcall(fn, held))
end


return lock
