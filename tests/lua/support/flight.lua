-- tests/support/flight - scripts (till.store.script) that wait for the row 1 of spec_rows.
--
--   all_at_once(scripts) -> what each was told, in their order: its row, its refusal or the code of
--                           its failure
--   flown(fn) -> { together =, splits = }: flights of more than one, and splits, while fn ran
local co = require "till.prim.co"
local combine = require "till.prim.combine"
local sql = require "till.prim.sql"
local waiting = require "tests.support.until"

local flight = {}


-- Whoever has the row of the units keeps the first buyer waiting in the database, and the others
-- behind him, until all have come.
function flight.all_at_once(scripts)
  local told, done = {}, 0
  assert(sql.transaction(function(tx)
    assert(tx:one("SELECT n FROM spec_rows WHERE id = 1 FOR UPDATE"))
    for i, s in ipairs(scripts) do
      co.turn_end(function()
        local row, why = s:run()
        told[i], done = row or (row == false and why) or why.code, done + 1
      end)
    end
    waiting.eventually("all but the first wait", function()
      return combine.stats().waiting == #scripts - 1
    end)
    return true
  end))
  waiting.eventually("all were told", function() return done == #scripts end)
  return told
end


-- How often a flight of more than one was run.
function flight.flown(fn)
  local before = combine.stats()
  fn()
  local after = combine.stats()
  return { together = after.together - before.together, splits = after.splits - before.splits }
end


return flight
