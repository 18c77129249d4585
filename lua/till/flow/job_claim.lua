-- till/flow/job_claim - what a jobs worker takes next.
--
--   job_claim.take()  -> { events =, slots = the claim that holds them or nil, leased_at = }
--                        | nil, err
--   job_claim.pause(type, ms)    nothing of this type is taken by this worker for so long
--   job_claim.shares(due, room)  -> list of { type, leave }: in which order, and what is left over
--
-- The types that are due are taken in the order of their priority. The first may have nearly all of
-- a claim, but a sixteenth is kept for each of the others: nothing starves. A type with a limit is
-- taken from only while we hold one of its slots.
-- Looking which types are due costs as much as taking a hundred events, for under load InnoDB has
-- to step over what was due just now; so while claims are full the answer is good for LOOK_MS.
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local kinds = require "till.flow.kinds"
local log = require "till.prim.log"
local outbox = require "till.prim.outbox"
local queue = require "till.store.queue"
local time = require "till.prim.time"

local job_claim = {}

local MOST_EVENTS, MOST_KINDS = 100, 32
local LOOK_MS = 250
local paused = {}
local seen, seen_at -- what queue.due gave; nil: look again


function job_claim.pause(event_type, ms)
  paused[event_type] = time.mono_ms() + ms
end


local function is_paused(event_type)
  local until_ms = paused[event_type]
  if until_ms and time.mono_ms() < until_ms then return true end
  paused[event_type] = nil
  return false
end


local function before(a, b)
  if a.kind.priority ~= b.kind.priority then return a.kind.priority > b.kind.priority end
  return a.waited_s > b.waited_s
end


-- Of more types than a claim takes, the last place is for the one that has waited longest.
local function cut(due)
  local oldest = due[MOST_KINDS]
  for i = MOST_KINDS + 1, #due do
    if due[i].waited_s > oldest.waited_s then oldest = due[i] end
    due[i] = nil
  end
  due[MOST_KINDS] = oldest
end


function job_claim.shares(due, room)
  table.sort(due, before)
  if #due > MOST_KINDS then cut(due) end
  local floor, out = math.max(1, math.floor(room / 16)), {}
  for i, entry in ipairs(due) do
    out[i] = { type = entry.kind.type, leave = (#due - i) * floor }
  end
  return out
end


local function draw()
  return tonumber(crypto.hex(crypto.random(6)), 16) + 1
end


local function has_slot(taking, kind)
  if not kind.limit then return true end
  local claim = taking.slots or draw()
  local got, e = queue.take_slot(kind.type, kind.limit, claim, conf.get("jobs.lease_ms"))
  if got then taking.slots = claim end
  if got == nil then log.warn("jobs.slot", { type = kind.type, error = tostring(e) }) end
  return got
end


local function look()
  local now = time.mono_ms()
  if seen and now - seen_at < LOOK_MS then return seen end
  local e
  seen, e = queue.due()
  seen_at = now
  return seen, e
end


-- -> list of { kind, waited_s } of which we may take
local function takeable(taking, rows)
  local due = {}
  for _, row in ipairs(rows) do
    local kind = kinds.of(row.type)
    if not is_paused(row.type) and has_slot(taking, kind) then
      due[#due + 1] = { kind = kind, waited_s = row.waited_s }
    end
  end
  return due
end


function job_claim.take()
  local rows, e = look()
  if not rows then return nil, e end
  local taking = { events = {}, leased_at = time.mono_ms() }
  local due = takeable(taking, rows)
  seen = nil
  if #due == 0 then return taking end
  local room = math.min(conf.get("jobs.batch"), MOST_EVENTS)
  taking.events, e = outbox.claim(job_claim.shares(due, room), room, conf.get("jobs.lease_ms"))
  if taking.events then
    if #taking.events == room then seen = rows end
    return taking
  end
  if taking.slots then queue.free_slots(taking.slots) end
  return nil, e
end


return job_claim
