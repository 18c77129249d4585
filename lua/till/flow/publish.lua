-- till/flow/publish - events that plugins with the hook event.publish carry elsewhere.
--
--   publish.hand_on(events, claim) -> true | nil, err     a copy of each event for each such plugin
--   publish.is_copy(type)
--   publish.deliver(copies) -> { [id of the copy] = why it failed } | nil, err     of one type
--
-- A copy is an event of its own, of the type "publish.PLUGIN" and an aggregate of the plugin's, and
-- is written once, before its event can be done. So the order within an aggregate holds, and a
-- receiver that is away holds up nobody: neither captures, nor another plugin.
-- A plugin may say by its option `events` which it wants: { "order.*", "payment.captured" }; a star
-- alone, or no such option, is all. One that throws, or answers what is none, has delivered none of
-- them: they are failed, and come again like whatever fails.
-- Where the receiver is away (an error that is retryable) this worker leaves it alone for a while,
-- longer each time up to PAUSE_MOST_MS, and no attempt is counted.
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local job_claim = require "till.flow.job_claim"
local json = require "till.prim.json"
local log = require "till.prim.log"
local outbox = require "till.prim.outbox"
local queue = require "till.store.queue"
local sql = require "till.prim.sql"

local publish = {}

local HOOK, PREFIX = "event.publish", "publish."
local PAUSE_MS, PAUSE_MOST_MS = 500, 30000
local NEVER = { ["job.run"] = true }

local failures = {}


function publish.is_copy(event_type)
  return event_type:sub(1, #PREFIX) == PREFIX
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return err.new("internal", debug.traceback(tostring(thrown), 2))
end


-- What is thrown here is no reason to stop whatever else was claimed with these events.
local function guarded(fn, ...)
  local good, value, e = xpcall(fn, traced, ...)
  if not good then return nil, value end
  return value, e
end


local function wants(plugin, event_type)
  for _, pattern in ipairs((dispatch.config(plugin) or {}).events or { "*" }) do
    if pattern == event_type then return true end
    if pattern:sub(-1) == "*" and event_type:sub(1, #pattern - 1) == pattern:sub(1, -2) then
      return true
    end
  end
  return false
end


local function is_wanted(event, names)
  if NEVER[event.type] or publish.is_copy(event.type) then return false end
  for _, name in ipairs(names) do
    if wants(name, event.type) then return true end
  end
  return false
end


local function copies_of(event, created_at, names)
  local out = {}
  for _, name in ipairs(names) do
    if wants(name, event.type) then
      out[#out + 1] = { aggregate = name .. ":" .. event.aggregate, type = PREFIX .. name,
        payload = json.encode { id = tostring(event.id), aggregate = event.aggregate,
          type = event.type, created_at = created_at, traceparent = event.traceparent,
          payload = json.raw(event.payload) } }
    end
  end
  return out
end


local function write(wanted, claim, names)
  return sql.transaction(function(tx)
    local rows, e = queue.unpublished(tx, wanted, claim)
    if not rows then return nil, e end
    local ids, copies = {}, {}
    for i, row in ipairs(rows) do
      ids[i] = row.id
      for _, copy in ipairs(copies_of(wanted[row.id], row.created_at, names)) do
        copies[#copies + 1] = copy
      end
    end
    if #ids == 0 then return true end
    local ok, e2 = outbox.append(tx, copies)
    if not ok then return nil, e2 end
    return queue.set_published(tx, ids)
  end)
end


local function hand_on(events, claim)
  local names = dispatch.names(HOOK)
  if #names == 0 or #events == 0 then return true end
  local wanted, any = {}, false
  for _, event in ipairs(events) do
    if is_wanted(event, names) then wanted[event.id], any = event, true end
  end
  if not any then return true end
  return write(wanted, claim, names)
end


function publish.hand_on(events, claim)
  return guarded(hand_on, events, claim)
end


local function is_away(event_type, e, n)
  failures[event_type] = (failures[event_type] or 0) + 1
  local ms = math.min(PAUSE_MOST_MS, PAUSE_MS * 2 ^ math.min(failures[event_type], 10))
  ms = ms / 2 + math.random(0, ms / 2)
  job_claim.pause(event_type, ms)
  log.warn("publish.away", { type = event_type, events = n, error = tostring(e),
    again_ms = math.floor(ms) })
end


local function odd(plugin, sentence)
  return nil, err.new("internal", plugin .. " " .. HOOK .. ": " .. sentence)
end


-- An id that none of them has may stand for one that was not published: nothing is taken for it.
local function failures_of(answer, of_id, plugin)
  local out, failed = {}, answer and answer.failed or {}
  if type(failed) ~= "table" then
    return odd(plugin, "`failed` is a " .. type(failed) .. " instead of a table")
  end
  for event_id, why in pairs(failed) do
    if not of_id[event_id] then
      return odd(plugin, "`failed` names " .. tostring(event_id) .. ", which is no id of theirs")
    end
    out[of_id[event_id]] = tostring(why)
  end
  return out
end


local function deliver(copies)
  local plugin, list = copies[1].type:sub(#PREFIX + 1), {}
  local of_id = {}
  for i, copy in ipairs(copies) do
    local event, e = json.decode(copy.payload)
    if not event then return nil, e end
    list[i], of_id[event.id] = event, copy.id
  end
  local answer, e = dispatch.plugin(plugin, HOOK, list)
  if answer == nil and e then
    if err.is(e) and e.retryable then is_away(copies[1].type, e, #copies) end
    return nil, e
  end
  failures[copies[1].type] = nil
  return failures_of(answer, of_id, plugin)
end


function publish.deliver(copies)
  return guarded(deliver, copies)
end


return publish
