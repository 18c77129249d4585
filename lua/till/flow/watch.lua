-- till/flow/watch - what staff should know of, looked for every few seconds: the alerts that no
-- change of stock brings about by itself. docs/operations.md says what to do at each.
--
--   sweep() -> true | nil, err     one machine at a time is enough, several do no harm
--
-- saga.stuck             a flow that somebody has to look at; ends when it goes on
-- outbox.dead_growing    more dead letters than the last time, or a newer one; ends after QUIET_MS
--                        without another. Of more than are counted nobody can say that: it stays
-- stock.oversell_attempt ends after QUIET_MS without another (till.flow.refusals begins it)
-- stock.blocked          ends where it was not met again (till.store.stock_blocked begins it)
-- stock.low              by rate of sale (till.flow.low_stock)
local alert_ends = require "till.flow.alert_ends"
local alerts = require "till.store.alerts"
local backlog = require "till.store.backlog"
local blocked = require "till.store.stock_blocked"
local checks = require "till.store.stock_checks"
local low_stock = require "till.flow.low_stock"
local metrics = require "till.prim.metrics"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local watch = {}

local QUIET_MS = 3600000
local MOST_FLOWS = 100
local DEAD, OUTBOX = "outbox.dead_growing", "outbox"

local after, after_flow = "", 0
local newest -- dead letter at the last look, its id; nil: this is the first look
local kinds = {}


local function raise(kind, subject, seen)
  return sql.transaction(function(tx)
    local opened, e = alerts.raise(tx, kind, subject, seen)
    if opened == nil then return nil, e end
    return true
  end)
end


-- A page at a time: however many there are, all are told of, and none twice.
local function flows()
  local rows, e = backlog.parked(after_flow, MOST_FLOWS)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    after_flow = row.id
    local ok, e2 = raise("saga.stuck", row.name .. ":" .. row.aggregate, { level = row.attempts,
      detail = { saga = row.name, aggregate = row.aggregate, attempts = row.attempts,
        reason = row.error } })
    if not ok then return nil, e2 end
  end
  if #rows < MOST_FLOWS then after_flow = 0 end
  return alert_ends.close("saga.stuck", "subject", backlog.not_parked)
end


-- One that is replayed or discarded while another one dies leaves their number as it was.
local function is_growing(now, before, is_open)
  if now.n > before or now.is_capped and not is_open then return true end
  return newest ~= nil and (now.newest or 0) > newest
end


local function dead()
  local now, e = backlog.dead()
  if not now then return nil, e end
  local known, e2 = alerts.of(DEAD, OUTBOX)
  if known == nil then return nil, e2 end
  local before, ok, e3 = known and known.level or 0, true, nil
  local grows = is_growing(now, before, known and known.state == "open")
  if grows then
    ok, e3 = raise(DEAD, OUTBOX, { level = now.n, detail = { dead = now.n, before = before } })
  elseif now.n < before then
    ok, e3 = alerts.set_level(DEAD, OUTBOX, now.n)
  end
  if not ok then return nil, e3 end
  newest = math.max(newest or 0, now.newest or 0)
  if grows or now.is_capped then return true end
  if now.n == 0 then return alerts.close(DEAD, OUTBOX) end
  return alerts.close_unseen(DEAD, time.now_ms() - QUIET_MS)
end


local function refused()
  return alerts.close_unseen("stock.oversell_attempt", time.now_ms() - QUIET_MS)
end


local function low()
  local next_after, e = low_stock.step(after)
  after = next_after or after
  if e then return nil, e end
  return true
end


-- What was open the last time and is no more is told as 0: a series stays.
local function tell()
  local open, e = alerts.open()
  if not open then return nil, e end
  for kind in pairs(open) do kinds[kind] = kinds[kind] or { kind = kind } end
  for kind, labels in pairs(kinds) do metrics.set("till_alerts_open", labels, open[kind] or 0) end
  local pass, e2 = checks.last_done()
  if pass == nil then return nil, e2 end
  metrics.set("till_stock_check_finished_time_seconds", nil,
    pass and math.floor(time.parse(pass.finished_at) / 1000) or 0)
  return true
end


--- One that fails keeps nobody else from being looked at.
function watch.sweep()
  local failed
  for _, fn in ipairs { flows, dead, refused, blocked.close, low, tell } do
    local ok, e = fn()
    if ok == nil then failed = failed or e end
  end
  if failed then return nil, failed end
  return true
end


return watch
