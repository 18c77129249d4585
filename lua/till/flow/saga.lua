-- till/flow/saga - flows of several steps, stored step by step.
--
--   local checkout = saga.define("checkout", {
--     { name = "reserve", run = fn(data, env) , undo = fn(data, env) }, ... })
--   checkout:run(aggregate, data, env) -> "done" | "waiting" | "parked" | "undone" | "busy", err
--
-- A step's run answers true, or nil and an error. After each the row is saved: a flow that was
-- dropped (a crash, a kill) goes on after its last saved step, so every run must be safe to repeat.
--
--   error                       then
--   unknown_outcome             the flow waits: nothing is undone, for undoing a charge that did
--                               happen is a second mistake; whoever runs it again looks it up
--   marked for_shopper = true   it ends here, nothing is undone; it begins anew when he has acted
--   any other                   done steps are undone, last first; begun again it starts anew. That
--                               it goes back is stored before: whoever resumes it goes on undoing,
--                               for what was given back already must not be sold with
--                               (of a flow with forward_only = true nothing is undone: it waits)
-- steps.parked(row, e) is called once it is parked.
--   retryable (a lost database) the flow stays where it is and is resumed
--
-- One that waits is looked at again after 2, 4, 8 … seconds; who runs it before that does not count
-- as an attempt. After jobs.park_attempts in vain at
-- one step, or jobs.park_after_ms, or an error with `final = true`, it is parked: nobody goes on
-- with it until staff say so (till.flow.parked). Its history tells each look. An error with
-- `known_at_ms` says when time will have told: it is looked at then, and its attempts begin anew.
--
-- A step with saved_by_next = true is not saved by itself, but by whatever becomes of the next one:
-- for one that finds out by itself what it has done, and writes that down elsewhere. Who dies
-- between both does it again.
--
-- `data` is kept in the row (JSON), `env` only in memory. A step may save the row itself in its own
-- transaction: env.saga is the row, env.steps how many there are; saga.note(tx, env, step) does it,
-- or a script with sagas.finish. When that transaction fails the step puts env.saga back.
local conf = require "till.prim.conf"
local err = require "till.util.err"
local log = require "till.prim.log"
local sagas = require "till.store.sagas"
local time = require "till.prim.time"

local saga = {}
saga.__index = saga

local MAX_WAIT_MS = 600000
local flows = {}


function saga.define(name, steps)
  flows[name] = setmetatable({ name = name, steps = steps,
    forward_only = steps.forward_only or false, parked = steps.parked }, saga)
  return flows[name]
end


function saga.named(name)
  return flows[name]
end


function saga:count()
  return #self.steps
end


local function undo(self, row, env)
  for i = row.step, 1, -1 do
    local step = self.steps[i]
    if step.undo then
      local ok, e = step.undo(row.data, env)
      if not ok then
        log.error("saga.undo", { saga = self.name, step = step.name, aggregate = row.aggregate,
          error = tostring(e) })
        return nil, e
      end
    end
    local saved, e = sagas.save(row, { step = i - 1 })
    if not saved then return nil, e or err.new("busy", "another worker took it over") end
  end
  return true
end


-- From now on it only goes back; `why` is what the shopper is told in the end. -> as sagas.save
local function turn_back(row, why)
  local anew = row.data.undoing == nil
  row.data.undoing = { code = why.code, message = why.message }
  return sagas.save(row, { anew = anew })
end


local function is_over(row, e, now_ms, due)
  if e.final then return true end
  if e.known_at_ms then return false end
  local tries, since = sagas.tries(row) + 1, sagas.since(row)
  if due and not e.retryable and tries >= conf.get("jobs.park_attempts") then return true end
  since = since and time.parse(since)
  return since ~= nil and now_ms - since >= conf.get("jobs.park_after_ms")
end


-- Who asks before it is due (a shopper who polls) makes no attempt: none is counted, it stays due
-- when it was, and its history is not filled.
local function is_due(row, now_ms)
  return not sagas.since(row) or not row.next_at or time.parse(row.next_at) <= now_ms
end


local function note(row, kind, e)
  local ok, why = sagas.note(row, kind, "system", { error = tostring(e) })
  if not ok then log.warn("saga.history", { saga = row.name, error = tostring(why) }) end
end


-- Somebody has taken it over from us, who were slow: with a provider that hangs each is, and nobody
-- dropped it.
local function taken_over(row)
  sagas.was_slow(row)
  return "busy"
end


local function wait(self, row, e)
  local now_ms = time.now_ms()
  local due = is_due(row, now_ms)
  local over = is_over(row, e, now_ms, due)
  local delay = math.min(MAX_WAIT_MS, 1000 * 2 ^ math.min(sagas.tries(row) + 1, 20))
  local state = over and "parked" or "waiting"
  local next_ms = row.next_at and time.parse(row.next_at)
  if due then next_ms = e.known_at_ms or now_ms + delay end
  local saved = sagas.save(row, { state = state, error = e, next_ms = not over and next_ms or nil,
    anew = due and e.known_at_ms ~= nil })
  if not saved then return taken_over(row) end
  if due or over then note(row, over and "parked" or "attempt", e) end
  if over then
    log.error("saga.parked", { saga = row.name, aggregate = row.aggregate, step = row.step,
      error = tostring(e) })
    if self.parked then self.parked(row, e) end
  end
  return state, e
end


-- Taken over by somebody else, or done after all: the answer to the last COMMIT was lost.
local function ended(self, row)
  local now = sagas.find(self.name, row.aggregate)
  return now and now.state == "done" and "done" or taken_over(row)
end


local function go_back(self, row, env, e)
  local ok, why = undo(self, row, env)
  if not ok then return wait(self, row, why) end
  sagas.save(row, { state = "undone", error = e })
  return "undone", e
end


local function stop(self, row, env, step, e)
  e = e:at(self.name .. "." .. step.name)
  local is_lost = e.retryable and not err.is(e, "busy")
  local waits = self.forward_only or is_lost or err.is(e, "unknown_outcome")
  local goes_back = not e.for_shopper and not waits
  local saved
  if goes_back then saved = turn_back(row, e) else saved = sagas.save(row, {}) end
  if not saved then return ended(self, row) end
  if goes_back then return go_back(self, row, env, e) end
  if waits and not e.for_shopper then return wait(self, row, e) end
  sagas.save(row, { state = "undone", error = e })
  return "undone", e
end


-- The step after the last saved one may have been begun: it is undone as well.
local function go_on_back(self, row, env)
  local why = row.data.undoing
  row.step = math.min(row.step + 1, #self.steps - 1)
  return go_back(self, row, env, err.new(why.code, why.message))
end


--- env.anew: forget what an earlier run of it left; its steps find their traces themselves.
-- env.begun: its row, which was made just now with what came before it (sagas.begin_with).
function saga:run(aggregate, data, env)
  local until_ms = time.now_ms() + conf.get("cart.completion_claim_ms")
  local row, e = env.begun, nil
  env.begun = nil
  if not row then row, e = sagas.begin(self.name, aggregate, data, until_ms, env.anew) end
  if row == nil then return nil, e end
  if not row then return "busy" end
  env.saga, env.steps = row, #self.steps
  -- Whoever ran it died each time, and left no word.
  if row.tries >= conf.get("jobs.park_attempts") then
    return wait(self, row, err.new("internal", "it was dropped by everybody who ran it"))
  end
  if row.data.undoing then
    local state, why = go_on_back(self, row, env)
    if state == "undone" and env.anew then return self:run(aggregate, data, env) end
    return state, why
  end
  for i = row.step + 1, #self.steps do
    local step = self.steps[i]
    local ok, why = step.run(row.data, env)
    if not ok then return stop(self, row, env, step, why) end
    if row.step < i and step.saved_by_next then
      row.step = i
    elseif row.step < i then
      local saved, e2 = sagas.save(row, { step = i, state = i == #self.steps and "done" or nil })
      if saved == nil then return nil, e2 end
      if not saved then return taken_over(row) end
    end
  end
  return "done"
end


--- Undoes one that nobody wants to go on any more, as it was read: what somebody has run or begun
-- anew since is his.
function saga:abandon(read, env)
  local until_ms = time.now_ms() + conf.get("cart.completion_claim_ms")
  local row, e = sagas.begin(self.name, read.aggregate, {}, until_ms, false, read.claim)
  if not row then return row, e end
  env.saga = row
  if not row.data.undoing then
    local saved, e2 = turn_back(row, err.new("conflict", "the cart was changed meanwhile"))
    if not saved then return saved, e2 end
  end
  local state, why = go_on_back(self, row, env)
  if state ~= "undone" then return nil, why end
  return true
end


local function save_in(tx, env, fields)
  local saved, e = sagas.save(env.saga, fields, tx)
  if saved == nil then return nil, e end
  if not saved then return nil, err.new("conflict", "another worker took this over") end
  return true
end


--- Inside a step's transaction: the step is done when its effect is. tx may be nil.
function saga.note(tx, env, step)
  return save_in(tx, env, { step = step })
end


return saga
