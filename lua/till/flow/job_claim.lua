-- till/flow/job_claim - what a jobs worker takes next.
--
--   job_claim.take([part])  -> { events =, slots = the claim that holds them or nil, leased_at = }
--                        | nil, err      part "beside": of BESIDE alone; "main": of all others
--   job_claim.pause(type, ms)    nothing of this type is taken by this worker for so long
--   job_claim.served(type)       something of it was done just now by this worker
--   job_claim.served_at(type)    -> when, by time.mono_ms(); 0: never
--   job_claim.shares(due, room)  -> list of { type, leave }: in which order, and what is left over
--
-- The types that are due are taken in the order of their priority. The first may have nearly all of
-- a claim, but a sixteenth is kept for each of the others; of more types than a claim takes, the
-- one that has waited longest is in it. That each has its turn is till.flow.job_batch's business.
-- A type with a limit is taken from only while we hold one of its slots.
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
local BESIDE = { ["job.run"] = true } -- may take a minute each: no worker is to wait for them
local paused, served_ms = {}, {}
local cuts = 0
local seen, seen_at -- what queue.due gave; nil: look again


function job_claim.pause(event_type, ms)
  paused[event_type] = time.mono_ms() + ms
end


function job_claim.served(event_type)
  served_ms[event_type] = time.mono_ms()
end


function job_claim.served_at(event_type)
  return served_ms[event_type] or 0
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


-- What this worker never did anything of, or longest ago, goes first.
local function waits_longer(a, b)
  local a_ms, b_ms = job_claim.served_at(a.kind.type), job_claim.served_at(b.kind.type)
  if a_ms ~= b_ms then return a_ms < b_ms end
  return a.waited_s > b.waited_s
end


-- Of more types than a claim takes, the last place is for the one that waits longest. Where there
-- is one place alone it has that in a sixteenth of the turns.
local function cut(due, most)
  cuts = cuts + 1
  local oldest, has_place = due[most], most > 1 or cuts % 16 == 0
  for i = most + 1, #due do
    if has_place and waits_longer(due[i], oldest) then oldest = due[i] end
    due[i] = nil
  end
  due[most] = oldest
end


function job_claim.shares(due, room)
  local most = math.min(MOST_KINDS, room)
  table.sort(due, before)
  if #due > most then cut(due, most) end
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


local function is_of(part, event_type)
  if part == nil then return true end
  return (part == "beside") == (BESIDE[event_type] == true)
end


-- -> list of { kind, waited_s } of which we may take
local function takeable(taking, rows, part)
  local due = {}
  for _, row in ipairs(rows) do
    local kind = kinds.of(row.type)
    if is_of(part, row.type) and not is_paused(row.type) and has_slot(taking, kind) then
      due[#due + 1] = { kind = kind, waited_s = row.waited_s }
    end
  end
  return due
end


local function without_beside(rows)
  local out = {}
  for _, row in ipairs(rows) do
    if not BESIDE[row.type] then out[#out + 1] = row end
  end
  return out
end


-- What is done beside is taken before the others, and leaves the look to them.
local function keep_look(part, rows, is_full)
  if part ~= "beside" then
    seen = is_full and rows or nil
  elseif not is_full then
    seen = without_beside(rows)
  end
end


function job_claim.take(part)
  local rows, e = look()
  if not rows then return nil, e end
  local taking = { events = {}, leased_at = time.mono_ms() }
  local due = takeable(taking, rows, part)
  if part ~= "beside" then seen = nil end
  if #due == 0 then return taking end
  local room = math.min(conf.get("jobs.batch"), MOST_EVENTS)
  taking.events, e = outbox.claim(job_claim.shares(due, room), room, conf.get("jobs.lease_ms"))
  if taking.events then
    keep_look(part, rows, #taking.events == room)
    return taking
  end
  if taking.slots then queue.free_slots(taking.slots) end
  return nil, e
end


return job_claim
