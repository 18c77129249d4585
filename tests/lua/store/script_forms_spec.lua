local t = require "till.test"
local flight = require "tests.support.flight"
local rows = require "tests.support.rows"
local script = require "till.store.script"
local sql = require "till.prim.sql"


local function with_rows(fn)
  return rows.with(fn, { "spec_rows (id INT NOT NULL PRIMARY KEY, n INT NOT NULL)",
    "spec_log (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL UNIQUE,"
      .. " what VARCHAR(20))" }, { "INSERT INTO spec_rows VALUES (1, 100)" })
end


local function bought()
  local list = assert(sql.query("SELECT n FROM spec_log WHERE what = 'bought' ORDER BY n"))
  for i, row in ipairs(list) do list[i] = row.n end
  return list
end


local function left()
  return assert(sql.one("SELECT n FROM spec_rows WHERE id = 1")).n
end


local BUY = { "UPDATE spec_log SET what = 'bought' WHERE n IN (", "?", ", ",
  ") AND what = 'kept'", counts = true }
local ALONE = { "SELECT 1 INTO @till_alone FROM spec_log WHERE (", "n = ? AND id <> ?", " OR ",
  ") AND what = 'kept' HAVING COUNT(*) = 0" }


local function keeper(n, form, ...)
  local s = script.new()
  s:each("not kept", form, n, ...)
  s:rank(script.STOCK)
  s:sum("sold out", "units", 1, "UPDATE spec_rows SET n = n - ? WHERE id = 1", script.SUM)
  return s
end


t.describe("a form of a script", function()
  t.it("is one statement for many rows, and nothing where one of them is not as it was",
    with_rows(function()
      assert(sql.exec("INSERT INTO spec_log (n, what) VALUES (1, 'kept'), (2, 'kept'),"
        .. " (3, 'kept')"))
      local function all(...)
        local s = script.new()
        for _, n in ipairs { ... } do s:each("not kept", BUY, n) end
        return s:run()
      end
      t.ok(all(1, 2))
      t.same({ all(3, 99) }, { false, "not kept" })
      t.same(bought(), { 1, 2 })
    end))

  t.it("is asked of all who go together, who do without him whose row is not as it was",
    with_rows(function()
      assert(sql.exec("INSERT INTO spec_log (n, what) VALUES (1, 'kept'), (2, 'kept'),"
        .. " (3, 'gone'), (4, 'kept'), (5, 'kept')"))
      local told = flight.all_at_once { keeper(1, BUY), keeper(2, BUY), keeper(3, BUY),
        keeper(4, BUY), keeper(5, BUY) }
      t.same({ told[3], left() }, { "not kept", 96 })
      t.same(bought(), { 1, 2, 4, 5 })
    end))

  t.it("that does not count holds for all of them", with_rows(function()
    assert(sql.exec("INSERT INTO spec_log (id, n, what) VALUES (11, 1, 'kept'), (12, 2, 'kept'),"
      .. " (13, 3, 'kept')"))
    local told = flight.all_at_once { keeper(1, ALONE, 11), keeper(2, ALONE, 12),
      keeper(3, ALONE, 12), keeper(4, ALONE, 14) }
    t.same({ told[3], left() }, { "not kept", 97 })
  end))
end)
