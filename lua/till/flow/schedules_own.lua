-- till/flow/schedules_own - what the server itself does again and again, once for all machines.
--
-- { name =, when =, run = fn() -> anything but nil | nil, err }; see till.flow.schedules.
local ahead = require "till.store.ahead"
local authorizations = require "till.flow.authorizations"
local conf = require "till.prim.conf"
local dead = require "till.store.dead"
local generation_purge = require "till.store.generation_purge"
local retention = require "till.store.retention"
local reseal = require "till.flow.reseal"
local refunds = require "till.store.refunds"
local sessions = require "till.store.sessions"
local settlement = require "till.flow.settlement"
local sweep = require "till.flow.sweep"
local webhook_poll = require "till.flow.webhook_poll"
local webhooks_store = require "till.store.webhooks"

local MOST, PURGE_MS = 10000, 20000
local WEBHOOKS_KEPT_MS = 90 * 86400000 -- providers send again for days


local function purge_generations()
  return generation_purge.run(conf.get("generations.keep"))
end


local function purge_old()
  return retention.run(PURGE_MS)
end


local function purge_webhooks()
  return webhooks_store.purge(WEBHOOKS_KEPT_MS, MOST)
end


return {
  { name = "server:purge", when = "every minute",
    run = function() return dead.purge(MOST, PURGE_MS) end },
  { name = "server:purge-carts", when = "every minute", run = purge_old },
  { name = "server:purge-sessions", when = "every minute",
    run = function() return sessions.purge(MOST) end },
  { name = "server:expire-refunds", when = "every minute",
    run = function() return refunds.expire(MOST) end },
  { name = "server:purge-generations", when = "every minute", run = purge_generations },
  { name = "server:sweep-payments", when = "every minute", run = sweep.run },
  { name = "server:watch-authorizations", when = "every minute", run = authorizations.run },
  { name = "server:purge-webhooks", when = "every minute", run = purge_webhooks },
  { name = "server:pull-back-times", when = "every minute", run = ahead.pull_back },
  { name = "server:reseal", when = "every minute", run = reseal.run },
  { name = "server:settle-payments", when = "20 4 * * *", run = settlement.daily },
  { name = "server:go-on-settlements", when = "every minute", run = settlement.go_on },
  { name = "server:poll-webhooks", when = "every minute", run = webhook_poll.run },
}
