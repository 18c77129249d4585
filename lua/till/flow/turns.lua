-- till/flow/turns - one after the other, in the order of arrival, within this worker.
--
--   with(key, ms, fn, ...) -> what fn returned | nil, err(busy, timeout, cancelled)
--   WAITING_MOST             so many wait for one key; who comes then is `busy` at once
--
-- Who would be refused by a version anyway waits here for the one before him instead of doing all
-- for nothing. It keeps nobody away who is in another worker: the condition in the UPDATE does.
-- Who waits has a slot of the worker (server.max_concurrency) all the while: without a bound one
-- client who sends hundreds of changes of his cart would take the slots of all other shoppers.
local co = require "till.prim.co"
local err = require "till.util.err"

local turns = { WAITING_MOST = 32 }

-- key -> { first, last, [i] = place, waiting = places of those who have not gone }, while somebody
-- has the turn
local queues = {}


local function take(key, ms)
  local queue = queues[key]
  if not queue then
    queues[key] = { first = 1, last = 0, waiting = 0 }
    return true
  end
  if queue.waiting >= turns.WAITING_MOST then
    return nil, err.new("busy", "too many changes of this wait for one another; try again",
      { retry_after_ms = math.random(1000, 3000) })
  end
  queue.waiting = queue.waiting + 1
  local place = { waiter = co.waiter() }
  queue.last = queue.last + 1
  queue[queue.last] = place
  local good, e = place.waiter:wait(ms)
  if place.is_next then return true end -- given to us, whatever became of the wait
  place.is_gone = true
  queue.waiting = queue.waiting - 1
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
      queue.waiting = queue.waiting - 1
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
