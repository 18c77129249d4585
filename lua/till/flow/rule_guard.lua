-- till/flow/rule_guard - rules that had to be killed are counted, and set aside after conf
-- rules.kills within rules.kill_window_ms: no worker calls them any more, until they are published
-- anew or restored. Their owner is told by the event rule.set_aside.
--
--   guard.aside() -> { [hash] = reason }
--   guard.killed(rule, failure)      counts in the background: the shopper does not wait for it
--   guard.count(rule, failure) -> is it set aside now | nil, err
--   guard.forget()                   after the commit that set one aside, or restored it
--
-- Whoever set a rule aside tells the other workers through Redis; without it they find out within
-- a second.
local cache = require "till.cache"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local outbox = require "till.prim.outbox"
local rules = require "till.store.rules"
local sql = require "till.prim.sql"

local guard = {}

local NONE = {}
local TTL_MS = 1000
local KILLS = { budget = true, deadline = true, memory = true, depth = true, crash = true }

local known = false


-- A failure of the database is no reason to call nobody, nor to call all: the last word counts
-- until there is another.
local last = NONE


function guard.aside()
  if not known then
    cache.own("rule", { max = 1, ttl_ms = TTL_MS })
    known = true
  end
  local aside, e = cache.get("rule", "aside", rules.aside)
  if not aside then
    log.warn("rules.aside", { error = tostring(e) })
    return last
  end
  last = aside
  return aside
end


function guard.forget()
  cache.invalidate("rule", { "aside" })
end


function guard.is_kill(failure)
  return KILLS[failure.code] == true
end


local function sentence(failure)
  return ("%s: %s"):format(failure.code, failure.message or "it was ended")
    .. (failure.line and (" (line %d)"):format(failure.line) or "")
end


local function set_aside(tx, row, rule, failure, kills)
  local window_ms = conf.get("rules.kill_window_ms")
  local reason = ("%d kills within %d s, the last: %s"):format(kills, window_ms / 1000,
    sentence(failure))
  local first, e = rules.set_aside(tx, rule.name, rule.hash, reason)
  if not first then return first, e end
  local ok, e2 = rules.set(tx, row.id, { state = "set_aside" })
  if ok then
    ok, e2 = rules.event(tx, row.id, { type = "set_aside", version = rule.version,
      author = "system", reason = "it had to be ended too often", detail = reason })
  end
  if ok then
    ok, e2 = outbox.append(tx, { { aggregate = "rule:" .. row.id, type = "rule.set_aside",
      payload = { rule_id = row.id, name = rule.name, title = rule.title, hook = rule.hook,
        version = rule.version, hash = rule.hash, reason = reason } } })
  end
  if not ok then return nil, e2 end
  return true
end


function guard.count(rule, failure)
  local first, e = sql.transaction(function(tx)
    local row, why = rules.lock_name(tx, rule.name)
    if not row then return row, why end
    local kills, why2 = rules.add_kill(tx, rule.hash, failure.code,
      conf.get("rules.kill_window_ms"))
    if not kills then return nil, why2 end
    if kills < conf.get("rules.kills") then return false end
    return set_aside(tx, row, rule, failure, kills)
  end)
  if first == nil then return nil, e end
  if not first then return false end
  guard.forget()
  metrics.add("till_rule_set_aside_total", { rule = rule.name }, 1)
  log.error("rule.set_aside", { rule = rule.name, hash = rule.hash, error = sentence(failure) })
  return true
end


function guard.killed(rule, failure)
  co.spawn(function()
    local done, e = guard.count(rule, failure)
    if done == nil then log.warn("rule.uncounted", { rule = rule.name, error = tostring(e) }) end
  end)
end


return guard
