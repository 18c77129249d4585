-- till/flow/webhook_poll - what a provider has told of, and never came (webhook.poll).
--
--   run() -> true | nil, err       of every provider that can be asked
--
-- It is read slice by slice, the oldest first: what was read once is not read again, however much
-- is left. A slice is an hour; where that has more pages than are read at a time it is halved until
-- it has not, down to LEAST_MS, of which everything is read. What was read of the wider one is in
-- the inbox all the same.
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local metrics = require "till.prim.metrics"
local time = require "till.prim.time"
local webhooks_store = require "till.store.webhooks"

local webhook_poll = {}

local DAY_MS = 86400000
local OVERLAP_MS = 600000
local SLICE_MS, LEAST_MS = 3600000, 1000
local PAGES, MOST_PAGES = 20, 200 -- of a slice that can be halved, and of one that cannot
local POLL_MS = 20000 -- a poll takes no longer: a jobs worker has other things to do


-- -> how many were new, where the next page begins | nil, err
local function page(plugin, slice, after)
  local answer, e = dispatch.plugin(plugin, "webhook.poll",
    { since_ms = slice.since_ms, until_ms = slice.until_ms, after = after })
  if not answer then return nil, e end
  local missing, e1 = webhooks_store.missing(plugin, answer.events) -- nearly all have come
  if not missing then return nil, e1 end
  if #missing == 0 then return 0, answer.after end
  local new, e2 = webhooks_store.insert(plugin, "poll", missing)
  if not new then return nil, e2 end
  if new > 0 then
    metrics.add("till_webhooks_received_total", { provider = plugin, result = "polled" }, new)
  end
  return new, answer.after
end


-- Pages lead from the newest to the oldest: only when the last was read is nothing left out.
-- -> true | false: there is more than that | nil, err
local function read_slice(plugin, slice, most)
  local after
  for _ = 1, most do
    local new, next_page = page(plugin, slice, after)
    if not new then return nil, next_page end
    if not next_page then
      local ok, e = webhooks_store.set_seen(plugin, slice.seen_ms)
      return ok and true or nil, e
    end
    after = next_page
  end
  return false
end


local function slice_of(since_ms, width_ms, now_ms)
  local to_ms = math.min(since_ms + width_ms, now_ms)
  -- the last one is open: a provider's clock may be ahead of ours
  return { since_ms = since_ms, seen_ms = to_ms, until_ms = to_ms < now_ms and to_ms or nil }
end


-- -> the slice that was read | nil, err
local function read_next(plugin, since_ms, width_ms, now_ms)
  while true do
    local slice = slice_of(since_ms, width_ms, now_ms)
    width_ms = math.min(width_ms, slice.seen_ms - since_ms)
    local is_least = width_ms <= LEAST_MS
    local done, e = read_slice(plugin, slice, is_least and MOST_PAGES or PAGES)
    if done then return slice, width_ms end
    if done == nil then return nil, e end
    if is_least then
      return nil, err.new("too_large", ("%s tells of more than %d pages of events within a second")
        :format(plugin, MOST_PAGES))
    end
    width_ms = math.max(LEAST_MS, math.floor(width_ms / 2))
  end
end


local function poll(plugin)
  local now_ms, until_ms = time.now_ms(), time.mono_ms() + POLL_MS
  local seen_ms, e = webhooks_store.seen_ms(plugin)
  if seen_ms == nil then return nil, e end
  local since_ms, width_ms = seen_ms or now_ms - DAY_MS, SLICE_MS
  since_ms = math.min(since_ms, now_ms) - OVERLAP_MS -- our clock may have been ahead
  repeat
    local slice, width = read_next(plugin, since_ms, width_ms, now_ms)
    if not slice then return nil, width end
    -- where there was so much there may be as much beside it
    since_ms, width_ms = slice.seen_ms, math.min(SLICE_MS, 2 * width)
  until since_ms >= now_ms or time.mono_ms() > until_ms
  return true
end


function webhook_poll.run()
  local ok, first = true, nil
  for _, plugin in ipairs(dispatch.names("webhook.poll")) do
    local done, e = poll(plugin)
    if not done then ok, first = nil, first or e end
  end
  return ok, first
end


return webhook_poll
