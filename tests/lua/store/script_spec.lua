local t = require "till.test"
local rows = require "tests.support.rows"
local script = require "till.store.script"
local sql = require "till.prim.sql"


local function with_rows(fn)
  return rows.with(fn, { "spec_rows (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, n INT NULL,"
    .. " CHECK (n < 1000))" }, { "INSERT INTO spec_rows (n) VALUES (0), (0)" })
end


local function values()
  local out = {}
  for i, row in ipairs(assert(sql.query("SELECT n FROM spec_rows ORDER BY id"))) do
    out[i] = row.n or "NULL"
  end
  return out
end


local ADD = "UPDATE spec_rows SET n = n + ? WHERE id = ?"
local INSERT = "INSERT INTO spec_rows (n) VALUES (?)"


-- More parameters than a compound statement is kept for: the same, one by one.
local function filled(s, long)
  if long then
    for _ = 1, 151 do s:exec("SET @till_a = ?, @till_b = ?", 1, 2) end
  end
  return s
end


t.describe("scripts of the same statements", function()
  -- Their text is kept by those of their steps: what else makes it must tell them apart.
  t.it("keep conditions of their own", with_rows(function()
    local both = "UPDATE spec_rows SET n = n + ? WHERE id <= ?"
    for _ = 1, 2 do
      local free, one, two = script.new(), script.new(), script.new()
      free:exec(both, 1, 0)
      t.same(free:run(), {})
      one:must("one", 1, both, 1, 1)
      t.same(one:run(), {})
      two:must("two", 2, both, 1, 1)
      local done, why = two:run()
      t.same({ done, why }, { false, "two" })
    end
    t.same(values(), { 2, 0 })
  end))

  t.it("give what each asks for", with_rows(function()
    for _, name in ipairs { "first", "second", "first" } do
      local s = script.new()
      s:exec("SET @till_n = ?", 7)
      s:give("@till_n AS " .. name)
      t.same(s:run(), { [name] = 7 })
    end
  end))

  t.it("write the rows of one insert together, as often as they run", with_rows(function()
    local s = script.new()
    for n = 1, 3 do s:insert(INSERT, n) end
    s:insert("INSERT INTO spec_rows (n, id) VALUES (?, ?)", 9, 90)
    t.same(s:run(), {})
    assert(sql.exec "DELETE FROM spec_rows WHERE id = 90")
    t.same(s:run(), {})
    t.same(values(), { 0, 0, 1, 2, 3, 9, 1, 2, 3 })
  end))
end)


for _, long in ipairs { false, true } do
  t.describe(long and "a script of many parameters" or "a script", function()
    t.it("does all of it, and gives what only the database knows", with_rows(function()
      local s = filled(script.new(), long)
      s:exec(ADD, 5, 1)
      s:exec(INSERT, 7)
      s:exec("SET @till_number = LAST_INSERT_ID()")
      s:must("none", 1, "INSERT INTO spec_rows (n) VALUES (@till_number)")
      s:give("@till_number AS number")
      t.equal(s:run().number, 3)
      t.same(values(), { 5, 0, 7, 3 })
    end))

    t.it("does nothing where a condition in its middle does not hold, and says which",
      with_rows(function()
        local s = filled(script.new(), long)
        s:exec(ADD, 5, 1)
        s:must("first", 1, ADD, 5, 2)
        local refusal = { promotion = "Last one" }
        s:must(refusal, 2, "UPDATE spec_rows SET n = n + 1 WHERE id = ?", 2)
        s:must("later", 1, ADD, 5, 99)
        local done, why = s:run()
        t.same({ done, why == refusal }, { false, true })
        t.same(values(), { 0, 0 })
      end))

    t.it("does nothing where a statement fails, and hands the failure on", with_rows(function()
      local s = filled(script.new(), long)
      s:exec(ADD, 5, 1)
      s:exec(INSERT, 1000)
      local done, e = s:run()
      t.same({ done, e.code, e.errcode }, { nil, "rejected", 4025 })
      t.same(values(), { 0, 0 })
    end))

    t.it("takes NULL among its parameters, at their end too", with_rows(function()
      local s = filled(script.new(), long)
      s:exec("INSERT INTO spec_rows (id, n) VALUES (?, ?)", nil, nil)
      s:exec("INSERT INTO spec_rows (n, id) VALUES (?, ?)", 4, sql.null)
      t.ok(s:run())
      t.same(values(), { 0, 0, "NULL", 4 })
    end))
  end)
end


t.describe("a script", function()
  t.it("is the same text with other values again and again", with_rows(function()
    for i = 1, 5 do
      local s = script.new()
      s:must("gone", 1, ADD, i, i % 2 + 1)
      t.ok(s:run())
    end
    t.same(values(), { 2 + 4, 1 + 3 + 5 })
  end))

  t.it("goes on when a column was added to its table", with_rows(function()
    local function insert()
      local s = script.new()
      s:exec(INSERT, 1)
      return s:run()
    end
    t.ok(insert())
    assert(sql.exec("ALTER TABLE spec_rows ADD COLUMN more INT NOT NULL DEFAULT 3 FIRST"))
    t.ok(insert())
    assert(sql.exec("ALTER TABLE spec_rows DROP COLUMN more"))
    t.ok(insert())
    t.same(values(), { 0, 0, 1, 1, 1 })
  end))

  -- As a step of the server's clock does it: far before the limit that the pool has set.
  local function ended_early(given)
    assert(sql.exec("SET max_statement_time = 0.2"))
    local s = script.new()
    s:exec(ADD, 1, 1)
    if given then s:give("SLEEP(20) AS slept") else s:exec("SET @till_slept = SLEEP(20)") end
    local row, e = s:run()
    assert(sql.exec("SET max_statement_time = DEFAULT"))
    return row, e
  end

  t.it("whose time was over before its COMMIT is undone, and may run again", with_rows(function()
    local row, e = ended_early(false)
    t.same({ row, e.code, e.errcode, e.unknown_outcome }, { nil, "deadlock", 1969, nil })
    t.same(values(), { 0, 0 })
  end))

  t.it("whose time was over after its COMMIT has an unknown outcome", with_rows(function()
    local row, e = ended_early(true)
    t.same({ row, e.code, e.errcode, e.unknown_outcome }, { nil, "timeout", 1317, true })
    t.same(values(), { 1, 0 })
  end))

  t.it("whose COMMIT failed, as on a node cut off, has an unknown outcome", with_rows(function()
    local s = script.new()
    s:exec(ADD, 1, 1)
    s:exec("SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1180")
    local row, e = s:run()
    t.same({ row, e.code, e.errcode, e.unknown_outcome }, { nil, "conn_lost", 1180, true })
    local done, e2 = sql.exec("BEGIN NOT ATOMIC SIGNAL SQLSTATE 'HY000'"
      .. " SET MYSQL_ERRNO = 1180; END")
    t.same({ done, e2.code }, { nil, "conn_lost" })
  end))

  t.it("is run again when it is the victim of a deadlock", with_rows(function()
    local co = require "till.prim.co"
    local met, over = co.waiter(), co.waiter()
    local function cross(a, b)
      local s = script.new()
      s:exec(ADD, 1, a)
      s:exec("SET @till_slept = SLEEP(0.05)")
      s:exec(ADD, 1, b)
      return s:run()
    end
    co.spawn(function()
      met:signal(true)
      over:signal(cross(2, 1) ~= nil)
    end)
    met:wait(1000)
    t.ok(cross(1, 2))
    t.ok(over:wait(5000))
    t.same(values(), { 2, 2 })
  end))

  t.it("runs its ranks one after the other, and a sum with its amount", with_rows(function()
    local s = script.new()
    s:rank(script.STOCK)
    s:sum("short", "1", 3, "UPDATE spec_rows SET n = n * 10 + ? WHERE id = ? AND n + ? < 1000",
      script.SUM, 1, script.SUM)
    s:rank(script.OWN)
    s:insert(INSERT, 8)
    s:exec(ADD, 7, 1)
    t.ok(s:run())
    t.same(values(), { 73, 0, 8 })
  end))
end)


local co = require "till.prim.co"
local flight = require "tests.support.flight"
local waiting = require "tests.support.until"
local all_at_once, flights = flight.all_at_once, flight.flown

-- What a buyer does: his own row, a row that is only added, and units of a row that all want.
local function buyer(own, units, amount, refusal)
  local s = script.new()
  s:exec("INSERT INTO spec_rows (n) VALUES (?)", own)
  s:exec("SET @till_number = LAST_INSERT_ID()")
  s:must("not his", 1, "UPDATE spec_rows SET n = n + 1 WHERE id = @till_number AND n < 500")
  s:insert("INSERT INTO spec_log (n, what) VALUES (?, ?)", own, "bought")
  s:rank(script.STOCK)
  s:sum(refusal or "sold out", "units", amount or 1,
    "UPDATE spec_rows SET n = n - ? WHERE id = ? AND n >= ?", script.SUM, units, script.SUM)
  s:rank(script.OWN)
  s:give("@till_number AS number")
  return s
end


local function with_units(n, fn)
  return with_rows(function()
    assert(sql.exec("DROP TABLE IF EXISTS spec_log"))
    assert(sql.exec("CREATE TABLE spec_log (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
      .. " n INT NOT NULL UNIQUE, what VARCHAR(20)) ENGINE=InnoDB"))
    assert(sql.exec("UPDATE spec_rows SET n = ? WHERE id = 1", n))
    fn()
    assert(sql.exec("DROP TABLE spec_log"))
  end)
end


local function left()
  return assert(sql.one("SELECT n FROM spec_rows WHERE id = 1")).n
end


local function logged()
  local out = {}
  for i, row in ipairs(assert(sql.query("SELECT n FROM spec_log ORDER BY n"))) do out[i] = row.n end
  return out
end


t.describe("scripts that wait for the same row", function()
  t.it("go together, and each is given what is his own", with_units(100, function()
    local told
    t.same(flights(function()
      told = all_at_once { buyer(10, 1), buyer(20, 1, 2), buyer(30, 1, 3), buyer(40, 1, 4) }
    end), { together = 1, splits = 0 })
    t.same(left(), 90)
    t.same(logged(), { 10, 20, 30, 40 })
    for i, row in ipairs(told) do
      t.same(assert(sql.one("SELECT n FROM spec_rows WHERE id = ?", row.number)).n, i * 10 + 1)
    end
  end))

  t.it("have the last units in the order in which they came", with_units(4, function()
    local told = all_at_once { buyer(1, 1), buyer(2, 1), buyer(3, 1), buyer(4, 1), buyer(5, 1),
      buyer(6, 1) }
    t.same({ told[5], told[6] }, { "sold out", "sold out" })
    t.same(left(), 0)
    t.same(logged(), { 1, 2, 3, 4 })
  end))

  t.it("are not asked for what was short a moment ago, where they look again anyhow",
    with_units(1, function()
      local told
      t.same(flights(function()
        told = all_at_once { buyer(1, 1, 2, script.AGAIN), buyer(2, 1, 2, script.AGAIN),
          buyer(3, 1, 1, script.AGAIN), buyer(4, 1, 3, script.AGAIN) }
      end), { together = 1, splits = 0 })
      t.same({ told[1], told[2], told[4] }, { "again", "again", "again" })
      t.same({ left(), logged() }, { 0, { 3 } })
    end))

  t.it("do without him whose own condition does not hold", with_units(100, function()
    local told
    t.same(flights(function()
      told = all_at_once { buyer(1, 1), buyer(2, 1), buyer(500, 1), buyer(4, 1), buyer(5, 1) }
    end), { together = 2, splits = 1 })
    t.same(told[3], "not his")
    t.same(left(), 96)
    t.same(logged(), { 1, 2, 4, 5 })
  end))

  t.it("do without him whose statement fails", with_units(100, function()
    local told = all_at_once { buyer(1, 1), buyer(2, 1), buyer(2, 1), buyer(4, 1), buyer(1001, 1) }
    t.same({ told[3], told[5] }, { "duplicate", "rejected" })
    t.same(logged(), { 1, 2, 4 })
    t.same(left(), 97)
  end))

  -- Another transaction has the row of the second, so that the batch is in the database when its
  -- connection is cut.
  t.it("share a lost answer: nobody knows what became of any of them", with_units(100, function()
    local cut, told = false, nil
    assert(sql.transaction(function(tx)
      assert(tx:exec("INSERT INTO spec_log (n) VALUES (2)"))
      co.turn_end(function()
        local batch = waiting.eventually("the batch is in the database", function()
          return sql.one("SELECT id FROM information_schema.processlist WHERE time_ms > 20"
            .. " AND info LIKE '%INSERT INTO spec_log%' AND id <> CONNECTION_ID()")
        end)
        cut = sql.exec(("KILL CONNECTION %d"):format(batch.id))
      end)
      told = all_at_once { buyer(1, 1), buyer(2, 1), buyer(3, 1) }
      return nil, "rolled back"
    end) == nil)
    waiting.eventually("the one who cuts was told", function() return cut end)
    t.same({ type(told[1]), told[2], told[3] }, { "table", "conn_lost", "conn_lost" })
    t.same(logged(), { 1 })
    t.same(left(), 99)
  end))
end)
