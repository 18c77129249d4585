-- till/flow/schedules - jobs that come again and again: plugins' (`schedules` of plugin.lua, with
-- the hook job.run) and the server's own (till.flow.schedules_own).
--
--   schedules.declare()     tells the database what this generation has
--   schedules.tick()        appends a run of each that is due -> true | nil, err
--   schedules.run(payload, event) -> true | nil, err      a run of it, or a job that was put off
--   schedules.run_now(tx, name) -> true | nil, err(not_found, conflict: one is still to be done)
--
-- A run is an event of the aggregate "schedule:NAME", and of an aggregate one event at a time is
-- delivered: so no two runs are at once, on whatever machines. While one is still to be done none
-- is added: what was missed meanwhile, or while nothing ran, is made up once.
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local log = require "till.prim.log"
local outbox = require "till.prim.outbox"
local schedule = require "till.util.schedule"
local sql = require "till.prim.sql"
local store = require "till.store.schedules"
local time = require "till.prim.time"

local schedules = {}

local MOST = 50 -- runs that a tick appends; what is still due after it is first in the next
local declared


-- name -> { when = text, spec =, plugin =, job = } or { when =, spec =, run = }
local function all()
  if declared then return declared end
  declared = {}
  for _, own in ipairs(require "till.flow.schedules_own") do
    declared[own.name] = { when = own.when, spec = assert(schedule.parse(own.when)),
      run = own.run }
  end
  for _, plugin in ipairs(dispatch.plugins()) do
    for job, when in pairs(plugin.schedules or {}) do
      declared[plugin.name .. ":" .. job] = { when = when, spec = assert(schedule.parse(when)),
        plugin = plugin.name, job = job }
    end
  end
  return declared
end


function schedules.declare()
  local names = {}
  for name, entry in pairs(all()) do
    names[#names + 1] = name
    local next_ms = schedule.next(entry.spec, time.now_ms())
    local ok, e = store.put(name, entry.when, next_ms, schedule.next(entry.spec, next_ms))
    if ok == nil then return nil, e end
  end
  return store.keep_only(names)
end


local function append(tx, name, entry, next_at_ms)
  local ok, e = outbox.append(tx, { { aggregate = "schedule:" .. name, type = "job.run",
    payload = { schedule = name, plugin = entry.plugin, job = entry.job } } })
  if not ok then return nil, e end
  ok, e = store.queued(tx, name, next_at_ms)
  if ok == nil then return nil, e end
  return true
end


-- The later one of clock and row: a clock that steps back repeats nothing.
local function fire(name, entry)
  return sql.transaction(function(tx)
    local row, e = store.lock(tx, name)
    if not row then return row, e end
    if row.is_due ~= 1 then return false end
    local is_queued, e2 = store.is_queued(tx, name)
    if is_queued == nil then return nil, e2 end
    if is_queued then return false end
    local from = math.max(time.now_ms(), time.parse(row.next_at))
    return append(tx, name, entry, schedule.next(entry.spec, from))
  end)
end


function schedules.tick()
  local names, e = store.due()
  if not names then return nil, e end
  local appended = 0
  for _, name in ipairs(names) do
    local entry = all()[name]
    local ok, e2 = false, nil
    if entry then ok, e2 = fire(name, entry) end
    if ok == nil then return nil, e2 end
    if ok then appended = appended + 1 end
    if appended == MOST then break end
  end
  return true
end


function schedules.run_now(tx, name)
  local entry = all()[name]
  local row, e = store.get(name, tx)
  if row == nil then return nil, e end
  if not row or not entry then return nil, err.new("not_found", "there is no such schedule") end
  row, e = store.lock(tx, name)
  if row == nil then return nil, e end
  local is_queued, e2 = not row, nil
  if row then is_queued, e2 = store.is_queued(tx, name) end
  if is_queued == nil then return nil, e2 end
  if is_queued then return nil, err.new("conflict", "a run of it is still to be done") end
  return append(tx, name, entry)
end


local function do_it(entry, payload, event)
  if entry.run then
    local done, e = entry.run()
    if done == nil then return nil, e or err.new("internal", "it gave nothing") end
    return true
  end
  local value, e = dispatch.plugin(entry.plugin, "job.run", { id = tostring(event.id),
    job = entry.job, payload = payload.payload, attempts = event.attempts })
  if value == nil and e then return nil, e end
  return true
end


local function note(what, ...)
  local ok, e = what(...)
  if ok == nil then log.warn("schedule.note", { error = tostring(e) }) end
end


function schedules.run(payload, event)
  local name = payload.schedule
  if not name then return do_it(payload, payload, event) end
  local entry = all()[name]
  if not entry then return true end -- nobody's any more
  note(store.started, name)
  local good, ok, e = xpcall(do_it, function(thrown)
    if err.is(thrown) then return thrown end
    return err.new("internal", debug.traceback(tostring(thrown), 2))
  end, entry, payload, event)
  if not good then ok, e = nil, ok end
  note(store.ended, name, not ok and tostring(e) or nil)
  return ok, e
end


return schedules
