-- till/flow/settlement_judge - movements at a provider are judged one after the other, in whatever
-- order he tells of them.
--
--   judge.one(s, item) -> true | nil, err     s, item as till.flow.settlement_match has them
--   judge.rest(s, keep) -> true | nil, err    at the end: what did not fit when it came. keep() ->
--                       true | nil, err before some of them: is the run still ours?
--
-- Most tell the newest first: a refund before its charge, that a dispute was won before it began.
-- What does not fit is put aside, nothing of it written and nobody told, and judged once more when
-- all others have been, the oldest first. So an exact match takes its event before what only looks
-- like it.
local fault = require "till.prim.fault"
local match = require "till.flow.settlement_match"
local metrics = require "till.prim.metrics"

local judge = {}

local MOST, SOME = 1000, 50 -- more are not put aside
local RANK = { charge = 1, refund = 2, dispute = 2, refund_failure = 3, dispute_reversal = 3 }


local function count(s, verdict)
  if verdict == match.LATER then return end
  metrics.add("till_settlement_items_total", { provider = s.provider, verdict = verdict }, 1)
end


function judge.one(s, item)
  s.aside = s.aside or {}
  local may_wait = #s.aside < MOST
  local verdict, e = match.run(s, item, may_wait)
  if not verdict then return nil, e end
  fault.crash "settlement.in_page"
  if verdict == match.LATER and may_wait then s.aside[#s.aside + 1] = item end
  count(s, verdict)
  return true
end


local function before(a, b)
  if a.at_ms ~= b.at_ms then return a.at_ms < b.at_ms end
  local rank_a, rank_b = RANK[a.kind] or 4, RANK[b.kind] or 4
  if rank_a ~= rank_b then return rank_a < rank_b end
  return a.reference < b.reference
end


function judge.rest(s, keep)
  local list = s.aside or {}
  s.aside = nil
  table.sort(list, before)
  for i, item in ipairs(list) do
    local ok, e = true, nil
    if i % SOME == 1 then ok, e = keep() end
    local verdict
    if ok then verdict, e = match.run(s, item) end
    if not verdict then return nil, e end
    count(s, verdict)
  end
  return true
end


return judge
