-- till/prim/combine - callers who would wait for the same row go together, in one transaction.
--
--   kind { name =, most = 16, run = fn } -> k     made once, when a module loads
--   k:go(keys, value) -> what run's answers hold for this caller | nil, err.  Waits.
--   stats() -> { alone, together: flights; combined: callers in the latter; splits, waiting }
--
-- keys: a list of strings, of the rows that would be waited for (16 are looked at). Who has none
-- in flight in this worker runs at once, alone. Who has one waits until that flight is over, with
-- all who come meanwhile; then the first of them runs it for all (core/trade/combine.h).
--
--   run(values) -> answers            a list: answers[i] is what the caller of values[i] gets, and
--                                     not nil
--                | false [, at]       nothing of it has happened, and it may go better in parts: it
--                                     is called again for [before at] [at] [after at], or for
--                                     halves where it says no `at`. Never with one value alone
--                | nil, err           all get it. err.unknown_outcome: nobody knows what happened
--
-- run does everything in one transaction and nothing beside it. It may be called again for the same
-- value after false. It runs in the call of the first caller: where that is over before anything
-- was done, or is refused as overload, the others go on without him. What it throws is thrown at
-- him, and the others get internal with unknown_outcome, for nobody knows how far it came.
--
-- A caller who waits still leaves when his call is over; once his flight has begun its answer is
-- waited for, as that of a COMMIT. err.code: timeout, cancelled (nothing was done for him),
-- internal.
--
-- The library's own: a plugin's statements wait in the database. A coupon of the last units, say:
--
--   local last = combine.kind { name = "coupon", run = function(amounts)
--     local sum = 0
--     for _, amount in ipairs(amounts) do sum = sum + amount end
--     local done, e = sql.exec("UPDATE coupons SET left_over = left_over - ? WHERE id = 7"
--       .. " AND left_over >= ?", sum, sum)
--     if not done then return nil, e end
--     if done.affected == 0 and #amounts > 1 then return false end   -- too few for all: in halves
--     for i in ipairs(amounts) do amounts[i] = done.affected == 1 end
--     return amounts
--   end }
--   local got, e = last:go({ "7" }, 1)
local c = require "till.c.combine"
local co = require "till.prim.co"
local metrics = require "till.prim.metrics"

local combine = { stats = c.stats }
local methods = {}
local meta = { __index = methods }

local MOST = 16


function combine.kind(opts)
  if type(opts.name) ~= "string" or type(opts.run) ~= "function" then
    error("combine.kind needs a name and what to run", 2)
  end
  return setmetatable({ name = opts.name, most = opts.most or MOST, run = opts.run,
    labels = { kind = opts.name } }, meta)
end


local function full_keys(self, keys)
  local out = {}
  for i, key in ipairs(keys) do out[i] = self.name .. "\0" .. key end
  return out
end


local function values_of(members)
  local out = {}
  for i, member in ipairs(members) do out[i] = member.value end
  return out
end


local function tell(seat, members, answers, e)
  for i, member in ipairs(members) do
    if answers then member.answer = answers[i] else member.err = e end
  end
  seat:answer()
end


-- The end of the leader's own call, or of what he may ask for; not that of what he ran.
local function is_his_own(e)
  if type(e) ~= "table" then return co.cancelled() end
  return (co.cancelled() or e.code == "overloaded" or e.unsent) and not e.unknown_outcome
end


local function count(self, members)
  if not members[2] then return end
  metrics.add("till_combined_batches_total", self.labels)
  metrics.add("till_combined_calls_total", self.labels, #members)
end


-- -> whether he leads on
local function fly(self, seat, own)
  local members = seat:members()
  count(self, members)
  local answers, e = self.run(values_of(members))
  if answers == false then
    if #members == 1 then error(self.name .. ": one caller cannot be split") end
    seat:split(e)
    metrics.add("till_combined_splits_total", self.labels)
    return true
  elseif answers == nil and is_his_own(e) then
    own.err = e
    seat:step_down()
  else
    tell(seat, members, answers, e)
  end
  return false
end


-- Where run throws, the end of the call lets go of the seat; a pcall above may keep the call alive.
local function lead(self, seat, own)
  local good, again
  repeat
    good, again = pcall(fly, self, seat, own)
  until not good or not again
  if good then return end
  seat:abandon()
  error(again, 0)
end


function methods:go(keys, value)
  local own = { value = value }
  local seat, e = c.join(full_keys(self, keys), self.most, own)
  if seat == nil then return nil, e end
  if seat then lead(self, seat, own) end
  if own.answer == nil then return nil, own.err end
  return own.answer
end


return combine
