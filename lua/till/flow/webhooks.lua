-- till/flow/webhooks - what providers tell, from the inbox into the books.
--
--   receive(plugin, request) -> HTTP status | nil, err    verified, and committed before 200
--   run() -> how many were taken    by the jobs workers, whenever they turn round
--   poll() -> true | nil, err       of every provider that can be asked for what never came
--   replay(tx, id, by) -> row | nil, err(not_found)
--
-- An event says that something has happened, never what: the plugin (webhook.apply) asks its
-- provider how the subject stands now, and till.flow.webhook_apply compares that with what is
-- booked. So events may come in any order, twice, early, late, or for the second time after years:
-- where nothing is new nothing is booked. All that are due for one subject are one question.
--
--   dies before the row is committed   the provider was told nothing, and sends it again
--   dies while it is applied           its lease ends, and somebody else asks and compares again
--   the provider cannot be asked       later, after 2, 4, 8 … s; after MOST_TRIES `failed`, and an
--                                      alert: staff have it replayed
--   it does not fit our books          `parked` with the reason, and an alert; nothing is applied
local apply = require "till.flow.webhook_apply"
local audit = require "till.store.audit"
local co = require "till.prim.co"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local redis = require "till.prim.redis"
local time = require "till.prim.time"
local webhooks_store = require "till.store.webhooks"

local webhooks = {}

local BATCH = 200
local AT_ONCE = 16
local LEASE_MS = 120000
local MOST_BODY = 1048576
local DAY_MS = 86400000
local OVERLAP_MS = 600000
local MOST_PAGES = 100
local SLICE_MS = 3600000
local POLL_MS = 20000 -- a poll takes no longer: a jobs worker has other things to do
local APPLY_MS = 60000 -- after which no further subject is begun
local CHANNEL = "till:jobs" -- of till.flow.jobs
local WAKE_MS = 50

local woken_ms = 0


local function count(provider, result, n)
  metrics.add("till_webhooks_received_total", { provider = provider, result = result }, n or 1)
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
  local new, e2 = webhooks_store.insert(plugin, "webhook", { answer.event })
  if not new then return nil, e2 end
  count(plugin, new == 0 and "duplicate" or answer.event.is_ignored and "ignored" or "accepted")
  if new > 0 and not answer.event.is_ignored then wake() end
  return answer.status
end


-- All rows of a subject are one piece of work: the last tells of what kind it is.
local function grouped(rows)
  local out, by = {}, {}
  for _, row in ipairs(rows) do
    local key = row.provider .. " " .. row.subject
    local group = by[key]
    if not group then
      group = { provider = row.provider, subject = row.subject, ids = {}, types = {}, tries = 0 }
      by[key] = group
      out[#out + 1] = group
    end
    group.ids[#group.ids + 1] = row.id
    group.types[row.type] = true
    group.event_id, group.tries = row.event_id, math.max(group.tries, row.tries)
  end
  return out
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


local function one(group, claim)
  local good, ok, e = xpcall(apply.run, traced, group, claim)
  if good and ok then return end
  apply.put_off(group, claim, good and e or ok)
end


-- A provider that is slow holds up AT_ONCE of its subjects, not all of them.
local function all(groups, claim)
  local left, next_at, waiter = math.min(AT_ONCE, #groups), 0, co.waiter()
  local until_ms = time.mono_ms() + APPLY_MS
  for _ = 1, left do
    co.turn_end(function()
      while next_at < #groups and time.mono_ms() < until_ms do
        next_at = next_at + 1
        one(groups[next_at], claim)
      end
      left = left - 1
      if left == 0 then waiter:signal(true) end
    end)
  end
  if left > 0 then waiter:wait(LEASE_MS, true) end
end


function webhooks.run()
  local rows, claim = webhooks_store.claim(BATCH, LEASE_MS)
  if not rows then return nil, claim end
  if #rows > 0 then fault.crash "webhook.after_claim" end
  if #rows > 0 then all(grouped(rows), claim) end
  return #rows
end


-- -> how many were new, where the next page begins | nil, err
local function page(plugin, slice, after)
  local answer, e = dispatch.plugin(plugin, "webhook.poll",
    { since_ms = slice.since_ms, until_ms = slice.until_ms, after = after })
  if not answer then return nil, e end
  if #answer.events == 0 then return 0, answer.after end
  local new, e2 = webhooks_store.insert(plugin, "poll", answer.events)
  if not new then return nil, e2 end
  if new > 0 then count(plugin, "polled", new) end
  return new, answer.after
end


-- Pages lead from the newest to the oldest: only when the last was read is nothing left out.
local function poll_slice(plugin, slice)
  local after
  for _ = 1, MOST_PAGES do
    local new, next_page = page(plugin, slice, after)
    if not new then return nil, next_page end
    if not next_page then return webhooks_store.set_seen(plugin, slice.seen_ms) end
    after = next_page
  end
  return nil, err.new("too_large", ("%s tells of more than %d pages of events within an hour")
    :format(plugin, MOST_PAGES))
end


-- An hour at a time, oldest first: what was read once is not read again, however much is left.
local function poll_one(plugin)
  local now_ms, until_ms = time.now_ms(), time.mono_ms() + POLL_MS
  local seen_ms, e = webhooks_store.seen_ms(plugin)
  if seen_ms == nil then return nil, e end
  local since_ms = (seen_ms or now_ms - DAY_MS) - OVERLAP_MS
  repeat
    local to_ms = math.min(since_ms + SLICE_MS, now_ms)
    -- the last one is open: a provider's clock may be ahead of ours
    local ok, e2 = poll_slice(plugin, { since_ms = since_ms, seen_ms = to_ms,
      until_ms = to_ms < now_ms and to_ms or nil })
    if not ok then return nil, e2 end
    since_ms = to_ms
  until since_ms >= now_ms or time.mono_ms() > until_ms
  return true
end


function webhooks.poll()
  local ok, first = true, nil
  for _, plugin in ipairs(dispatch.names("webhook.poll")) do
    local done, e = poll_one(plugin)
    if not done then ok, first = nil, first or e end
  end
  return ok, first
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
