-- support/until - waits for what will be so, and says what was not when it has waited long enough.
--
--   eventually("the lock is free", function() return is_so end) -> what fn returned
--   together(fn, fn, ...)  runs all of them as calls of their own; raises what one of them raised
local co = require "till.prim.co"
local time = require "till.prim.time"

local LIMIT_MS = 10000


local function eventually(what, fn)
  local due = time.mono_ms() + LIMIT_MS
  while true do
    local value = fn()
    if value then return value end
    if time.mono_ms() > due then error("waited in vain: " .. what, 2) end
    time.sleep(5)
  end
end


local function together(...)
  local running, waiters = { ... }, {}
  for i, fn in ipairs(running) do
    waiters[i] = co.waiter()
    co.turn_end(function()
      local good, failure = pcall(fn)
      waiters[i]:signal({ good = good, failure = failure })
    end)
  end
  for _, waiter in ipairs(waiters) do
    local done, err = waiter:wait(3 * LIMIT_MS)
    if not done then error(err) end
    if not done.good then error(done.failure, 0) end
  end
end


return { eventually = eventually, together = together }
