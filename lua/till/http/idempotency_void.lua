-- till/http/idempotency_void - claims of keys that nobody runs under any more, and that could not
-- be taken back: the database was away, or the time of the request over.
--
--   void.add(i, is_sure)   i: { scope =, key =, claim = }. Not is_sure: nobody knows whether it was
--                          written, or is still to be
--   void.clear(i) -> true | nil, err    before the key is claimed: waits until no claim of this
--                          worker is in its way
--
-- Each is taken back by its number, which nobody else has. So whoever has taken the key over, or
-- has its answer, keeps it; and what its own runner may still have on its way to the database
-- finds the claim gone, and is rolled back. This worker knows at once that its claim is void; for
-- the others it is taken back in the background, as soon as the database is there. What is
-- forgotten here (a worker dies, a generation ends) ends with its lease.
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local idem = require "till.prim.idem"
local log = require "till.prim.log"
local time = require "till.prim.time"
local err = require "till.util.err"

local void = {}

local MOST, FIRST_MS, LAST_MS = 1000, 100, 2000

local known, n, is_at_work = {}, 0, false


local function name_of(i)
  return i.scope .. "\n" .. i.key
end


local function remove(name, one)
  if known[name] == one then known[name], n = nil, n - 1 end
end


-- What may still be on its way is looked for again, until its lease would be over.
local function take_back(name, one)
  local good, failure = idem.forget(one.scope, one.key, one.claim)
  local is_gone = good or one.is_sure and err.is(failure, "conflict")
  if is_gone or time.mono_ms() >= one.until_ms then
    remove(name, one)
  elseif not err.is(failure, "conflict") then
    return nil, failure
  end
  return true
end


local function pass()
  local names = {}
  for name in pairs(known) do names[#names + 1] = name end
  for _, name in ipairs(names) do
    local one = known[name]
    if one then take_back(name, one) end
  end
end


local function work()
  local pause = FIRST_MS
  repeat
    pass()
    if n == 0 or co.closing() then break end
    time.sleep(pause)
    pause = math.min(2 * pause, LAST_MS)
  until false
  is_at_work = false
end


function void.add(i, is_sure)
  local name = name_of(i)
  if not known[name] then
    if n == MOST then
      log.warn("idempotency.kept", { scope = i.scope, error = "too many claims are void" })
      return
    end
    n = n + 1
  end
  known[name] = { scope = i.scope, key = i.key, claim = i.claim, is_sure = is_sure,
    until_ms = time.mono_ms() + conf.get("idem.lease_ms") }
  if is_at_work then return end
  is_at_work = true
  co.spawn(work)
end


function void.clear(i)
  if n == 0 then return true end
  local name = name_of(i)
  local one = known[name]
  if not one then return true end
  return take_back(name, one)
end


return void
