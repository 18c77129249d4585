-- till/flow/schedules_own - what the server itself does again and again, once for all machines.
--
-- { name =, when =, run = fn() -> anything but nil | nil, err }; see till.flow.schedules.
local conf = require "till.prim.conf"
local dead = require "till.store.dead"
local generation_purge = require "till.store.generation_purge"
local refunds = require "till.store.refunds"
local sessions = require "till.store.sessions"
local sweep = require "till.flow.sweep"

local MOST = 10000


local function purge_generations()
  return generation_purge.run(conf.get("generations.keep"))
end


return {
  { name = "server:purge", when = "every minute", run = function() return dead.purge(MOST) end },
  { name = "server:purge-sessions", when = "every minute",
    run = function() return sessions.purge(MOST) end },
  { name = "server:expire-refunds", when = "every minute",
    run = function() return refunds.expire(MOST) end },
  { name = "server:purge-generations", when = "every minute", run = purge_generations },
  { name = "server:sweep-payments", when = "every minute", run = sweep.run },
}
