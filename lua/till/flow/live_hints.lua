-- till/flow/live_hints - word of what was changed just now, for the streams of all workers.
--
--   tell(topics)      after the commit: "cart:<id>", "stock:<variant id>". Does not wait
--   cart(cart_id), stock(variant_ids)     the same
--   listen(fn)        fn(topics, n) is called with what this worker itself has changed
--   CHANNEL           of Redis, where the others hear it: one topic a line
--
-- A hint is no event: it says where to look, and nothing depends on it (till.flow.live looks each
-- second by itself). So what is told too fast is gathered, and what cannot be told is dropped.
local co = require "till.prim.co"
local redis = require "till.prim.redis"
local time = require "till.prim.time"

local hints = { CHANNEL = "till:live" }

local GATHER_MS = 5
local UNHEARD_MS = 200 -- nobody has subscribed: it is not worth more
local MOST = 1000

local pending, count = {}, 0
local is_running = false
local listener


local function take()
  local out = {}
  for topic in pairs(pending) do out[#out + 1] = topic end
  pending, count = {}, 0
  return table.concat(out, "\n")
end


local function publish_all()
  while count > 0 and not co.closing() do
    time.sleep(GATHER_MS)
    local receivers = redis.publish(hints.CHANNEL, take())
    if receivers == nil or receivers == 0 then time.sleep(UNHEARD_MS) end
  end
end


local function run()
  local good, thrown = pcall(publish_all)
  is_running = false
  if not good then error(thrown, 0) end
end


function hints.listen(fn)
  listener = fn
end


function hints.tell(topics)
  if listener then listener(topics) end
  for _, topic in ipairs(topics) do
    if count < MOST and not pending[topic] then
      pending[topic] = true
      count = count + 1
    end
  end
  if is_running or count == 0 then return end
  is_running = true
  co.spawn(run)
end


function hints.cart(cart_id)
  hints.tell { "cart:" .. cart_id }
end


function hints.stock(variant_ids)
  local out = {}
  for i, variant_id in ipairs(variant_ids) do out[i] = "stock:" .. variant_id end
  hints.tell(out)
end


return hints
