-- support/rows - tables of a spec's own, in a shop without orders.
--
--   rows.with(fn, { "spec_x (id INT …)", … } [, { "INSERT …", … }]) -> a test   they are there for
--                                          fn, anew, and gone afterwards unless it failed
local t = require "till.test"
local sql = require "till.prim.sql"

local rows = {}


function rows.with(fn, tables, statements)
  return function()
    t.empty_shop()
    local names = {}
    for i, text in ipairs(tables) do
      names[i] = text:match "^[%w_]+"
      assert(sql.exec("DROP TABLE IF EXISTS " .. names[i]))
      assert(sql.exec("CREATE TABLE " .. text .. " ENGINE=InnoDB"))
    end
    for _, text in ipairs(statements or {}) do assert(sql.exec(text)) end
    fn()
    assert(sql.exec("DROP TABLE " .. table.concat(names, ", ")))
  end
end


return rows
