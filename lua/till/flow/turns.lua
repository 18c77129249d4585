-- till/flow/turns - one after the other, in the order of arrival, within this worker.
--
--   with(key, ms, fn, ...) -> what fn returned, up to 4 values | nil, err(timeout, cancelled)
--
-- Who would be refused by a version anyway waits here for the one before him instead of doing all
-- for nothing. It keeps nobody away who is in another worker: the condition in the UPDATE does.
local co = require "till.prim.co"

local turns = {}

local queues = {} -- key -> { first, last, [i] = waiter }, while somebody has the turn


local function take(key, ms)
  local queue = queues[key]
  if not queue then
    queues[key] = { first = 1, last = 0 }
    return true
  end
  local place = { waiter = co.waiter() }
  queue.last = queue.last + 1
  queue[queue.last] = place
  local good, e = place.waiter:wait(ms)
  if place.is_next then return true end -- given to us, whatever became of the wait
  place.is_gone = true
  if good then error("woken without a turn") end
  return nil, e
end


local function give(key)
  local queue = queues[key]
  while queue.first <= queue.last do
    local place = queue[queue.first]
    queue[queue.first] = nil
    queue.first = queue.first + 1
    if not place.is_gone then
      place.is_next = true
      place.waiter:signal(true)
      return
    end
  end
  queues[key] = nil
end


local function finish(key, good, ...)
  give(key)
  if not good then error((...), 0) end
  return ...
end


function turns.with(key, ms, fn, ...)
  local taken, e = take(key, ms)
  if not taken then return nil, e end
  return finish(key, pcall(fn, ...))
end


return turns
