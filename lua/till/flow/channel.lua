-- till/flow/channel - where a shopper comes from: the publishable key that his cart was made with.
--
--   hold_until(cart) -> ms, most_ms    until when stock that is reserved now is held for this
--                                cart, and for how long at most, from when it began
--   set(key_id, { reservation_minutes =, hold_minutes = }) -> true | false | nil, err
--                                json.null: as the shop says
--
-- Read with the cache: what is set counts for every worker from then on (till.cache). A key that
-- cannot be read holds for as long as the shop does.
local cache = require "till.cache"
local conf = require "till.prim.conf"
local keys = require "till.store.keys"
local time = require "till.prim.time"

local channel = {}

local SHOP = {} -- a key that says nothing


local function load(key_id)
  local key, e = keys.get(key_id)
  if key == nil then return nil, e end
  return key or SHOP
end


function channel.hold_until(cart)
  local key = cart.key_id and cache.get("channel", cart.key_id, load) or SHOP
  local minutes = key.reservation_minutes or conf.get("cart.reservation_minutes")
  local most = key.hold_minutes or conf.get("cart.hold_minutes")
  return time.now_ms() + math.min(minutes, most) * 60000, most * 60000
end


function channel.set(key_id, fields)
  local done, e = keys.set_minutes(key_id, fields)
  if done then cache.invalidate("channel", { key_id }) end
  return done, e
end


return channel
