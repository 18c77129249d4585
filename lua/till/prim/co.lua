-- till/prim/co - calls, and waiting for one another.
--
--   spawn(fn, ...)     a background call of its own, begun at the end of this turn; no deadline.
--                      An error in it is logged. It must end soon after closing() turns true.
--   turn_end(fn, ...)  as spawn, for work that others wait for: it is not told to end early
--   spawn_within(ms, fn, ...)   as spawn, but its waits end with `timeout` after `ms`
--   task(ms, fn, ...)  as turn_end, but within `ms`, and for this call alone -> task; task:cancel()
--                      and the end of this call end it at its next wait
--   closing()          has this generation been replaced?
--   waiter()           -> w. w:wait(ms [, is_work]) -> value | nil, err(timeout, cancelled);
--                      w:signal(value) wakes all who wait now; met by nobody it is kept for the
--                      next wait. A wait of a background call ends (cancelled) when closing,
--                      unless `is_work`: it waits for what it has begun, not for more to do.
--   no_wait(fn, ...)   calls fn; a binding that would wait below it throws instead
--   time_left()        milliseconds of the call's deadline; nil where it has none
--   cancelled()        is the call over (client gone, out of time)? Waits fail at once then.
--   generation()       its name, 64 hex digits;  process() "web-0"
--   enter(plugin, what), leave()   whose code runs: the log of a worker that stood still names it.
--                      Both strings must live as long as the generation (names, not made ones)
--   traceparent()      of the call;  adopt(header) goes on in another's trace
--
-- Coroutines of Lua's own may wait: the wait travels up to the call.
local c = require "till.c.co"

local co = {
  spawn = c.spawn, spawn_within = c.spawn_within, task = c.task, turn_end = c.turn_end,
  closing = c.closing, no_wait = c.no_wait,
  time_left = c.time_left, cancelled = c.cancelled, generation = c.generation,
  process = c.process, traceparent = c.traceparent, adopt = c.adopt,
  enter = c.enter, leave = c.leave,
}

local methods = {}
local meta = { __index = methods }


function methods:wait(ms, is_work)
  local woken, err = self.inner:wait(ms, is_work)
  if not woken then return nil, err end
  return self.value
end


function methods:signal(value)
  if value == nil then value = true end
  self.value = value
  self.inner:signal()
end


function co.waiter()
  return setmetatable({ inner = c.waiter() }, meta)
end


return co
