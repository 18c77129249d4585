-- till/prim/redis - Redis: speed, never truth.
--
--   call(cmd, ...)           waits -> reply | nil, err. Arguments: strings and numbers; a nil
--                            reply is false, an array a list. Limit redis.command_timeout_ms.
--                            conn_lost comes at once while Redis is away, overloaded while it
--                            is silent, `rejected` is Redis' own refusal.
--   publish(channel, text)   waits -> how many got it | nil, err
--   subscribe(channel, fn)   -> handle with :close(). fn(text) runs as a background call for each
--                            message, fn(nil) when messages may have been missed: drop what is
--                            cached. It lasts until close or the generation's end.
local c = require "till.c.redis"

local redis = { call = c.call, subscribe = c.subscribe }


function redis.publish(channel, text)
  return c.call("PUBLISH", channel, text)
end


return redis
