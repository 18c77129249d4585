-- till/flow/webhooks - what providers tell, from the inbox into the books.
--
--   receive(plugin, request) -> HTTP status | nil, err    verified, and committed before 200
--   replay(tx, id, by) -> row | nil, err(not_found)
--
-- An event says that something has happened, never what: the plugin (webhook.apply) asks its
-- provider how the subject stands now, and till.flow.webhook_apply compares that with what is
-- booked. So events may come in any order, twice, early, late, or for the second time after years:
-- where nothing is new nothing is booked. All that are due for one subject are one question. The
-- jobs workers take them (till.flow.webhook_run).
--
--   dies before the row is committed   the provider was told nothing, and sends it again
--   the database cannot be written     what was claimed is given back as soon as it can
--   dies while it is applied           its lease ends, and somebody else asks and compares again,
--                                      alone: it may be what ended its worker
--   the provider cannot be asked       later, after 2, 4, 8 … s; after MOST_TRIES `failed`, and an
--                                      alert: staff have it replayed
--   it does not fit our books          `parked` with the reason, and an alert; nothing is applied
local audit = require "till.store.audit"
local co = require "till.prim.co"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local redis = require "till.prim.redis"
local time = require "till.prim.time"
local webhooks_store = require "till.store.webhooks"

local webhooks = {}

local MOST_BODY = 1048576
local CHANNEL = "till:jobs" -- of till.flow.jobs
local WAKE_MS = 50

local woken_ms = 0


local function count(provider, result)
  metrics.add("till_webhooks_received_total", { provider = provider, result = result }, 1)
end


local function refuse(plugin, answer)
  count(plugin, answer.reason or "refused")
  log.warn("webhook.refused", { provider = plugin, reason = answer.reason or "refused" })
  return answer.status
end


-- Nobody is told twice in a moment; who misses it looks by himself before long.
local function wake()
  local now_ms = time.mono_ms()
  if now_ms - woken_ms < WAKE_MS then return end
  woken_ms = now_ms
  co.spawn(function()
    time.sleep(WAKE_MS) -- whoever comes meanwhile is taken with it
    redis.publish(CHANNEL, "webhooks")
  end)
end


function webhooks.receive(plugin, request)
  if #request.body > MOST_BODY then
    return refuse(plugin, { status = 413, reason = "too_large" })
  end
  local answer, e = dispatch.plugin(plugin, "webhook.receive", request)
  if not answer then return nil, e end
  if answer.status < 200 or answer.status > 299 then return refuse(plugin, answer) end
  if not answer.event then return answer.status end -- it has seen to it by itself
  local is_new, e2 = webhooks_store.receive(plugin, answer.event)
  if is_new == nil then return nil, e2 end
  count(plugin, not is_new and "duplicate" or answer.event.is_ignored and "ignored" or "accepted")
  if is_new and not answer.event.is_ignored then wake() end
  return answer.status
end


function webhooks.replay(tx, event_id, by)
  local row, e = webhooks_store.get(event_id, tx)
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no such webhook event") end
  local ok, e2 = webhooks_store.replay(tx, event_id)
  if ok then
    ok, e2 = audit.add({ actor = by.actor, action = "webhook.replay",
      subject = "webhook:" .. event_id, request_id = by.request_id, detail = { state = row.state,
        reason = by.reason } }, tx)
  end
  if not ok then return nil, e2 end
  return webhooks_store.get(event_id, tx)
end


return webhooks
