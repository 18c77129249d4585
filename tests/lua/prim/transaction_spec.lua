local t = require "till.test"
local rows = require "tests.support.rows"
local co = require "till.prim.co"
local err = require "till.util.err"
local idem = require "till.prim.idem"
local outbox = require "till.prim.outbox"
local sql = require "till.prim.sql"
local waiting = require "tests.support.until"


local function with_rows(fn)
  return rows.with(fn, { "spec_rows (id INT NOT NULL PRIMARY KEY, n INT NOT NULL)" },
    { "INSERT INTO spec_rows VALUES (1, 0), (2, 0)" })
end


local function add(tx, id, n)
  return tx:exec("UPDATE spec_rows SET n = n + ? WHERE id = ?", n or 1, id)
end


local function values()
  local out = {}
  for i, row in ipairs(assert(sql.query("SELECT n FROM spec_rows ORDER BY id"))) do
    out[i] = row.n
  end
  return out
end


t.describe("a transaction", function()
  t.it("commits, and gives what the function returned", with_rows(function()
    t.same({ sql.transaction(function(tx)
      t.equal(add(tx, 1).affected, 1)
      t.equal(tx:one("SELECT n FROM spec_rows WHERE id = 1").n, 1)
      t.same(values(), { 0, 0 }, "seen from outside before it was committed")
      return "a", nil, false, 4
    end) }, { "a", nil, false, 4 })
    t.same(values(), { 1, 0 })
  end))

  t.it("is rolled back by nil and an error, which is handed on", with_rows(function()
    local refusal = err.new("sold_out", "none left")
    local value, failure = sql.transaction(function(tx)
      add(tx, 1)
      return nil, refusal
    end)
    t.same({ value, failure == refusal }, { nil, true })
    t.same(values(), { 0, 0 })
  end))

  t.it("is rolled back by what is thrown, which is thrown on", with_rows(function()
    local thrown = t.throws(function()
      sql.transaction(function(tx)
        add(tx, 1)
        error("boom", 0)
      end)
    end)
    t.equal(thrown, "boom")
    t.same(values(), { 0, 0 })
  end))

  t.it("goes on after a refusal that the function can live with", with_rows(function()
    t.ok(sql.transaction(function(tx)
      local _, failure = tx:exec("INSERT INTO spec_rows VALUES (1, 5)")
      t.equal(failure.code, "duplicate")
      return add(tx, 2)
    end))
    t.same(values(), { 0, 1 })
  end))

  t.it("cannot be used once it is over", with_rows(function()
    local kept
    sql.transaction(function(tx)
      kept = tx
      return true
    end)
    t.throws(function() add(kept, 1) end, "the transaction is over")
  end))

  t.it("that meets a deadlock runs again, and both have their effect", with_rows(function()
    local runs, there = 0, { co.waiter(), co.waiter() }
    local function both(first, second)
      local attempt = 0
      t.ok(sql.transaction(function(tx)
        attempt, runs = attempt + 1, runs + 1
        local ok, failure = add(tx, first)
        if not ok then return nil, failure end
        if attempt == 1 then
          there[first]:signal()
          there[second]:wait(10000)
        end
        return add(tx, second)
      end))
    end
    waiting.together(function() both(1, 2) end, function() both(2, 1) end)
    t.same(values(), { 2, 2 })
    t.equal(runs, 3, "runs of both together")
  end))

  t.it("gives up after its attempts", with_rows(function()
    local runs = 0
    local value, failure = sql.transaction(function(tx)
      runs = runs + 1
      add(tx, 1)
      return nil, err.new("deadlock", "by the spec")
    end, { attempts = 2 })
    t.same({ value, failure.code, runs }, { nil, "deadlock", 2 })
    t.same(values(), { 0, 0 })
  end))

  t.it("is over when its connection is lost, and the next one is sound", with_rows(function()
    local value, failure = sql.transaction(function(tx)
      add(tx, 1)
      local id = tx:one("SELECT CONNECTION_ID() AS id").id
      t.ok(sql.exec("KILL CONNECTION " .. id))
      local _, lost = add(tx, 2)
      t.equal(lost.code, "conn_lost")
      t.equal(select(2, add(tx, 2)).code, "conn_lost", "the second statement")
      return nil, lost
    end)
    t.same({ value, failure.code, failure.retryable }, { nil, "conn_lost", true })
    t.same(values(), { 0, 0 })
    t.ok(sql.transaction(function(tx) return add(tx, 2) end))
    t.same(values(), { 0, 1 })
  end))

  t.it("whose connection was lost takes no event and no answer, and says so", with_rows(function()
    local value, failure = sql.transaction(function(tx)
      t.ok(sql.exec("KILL CONNECTION " .. tx:one("SELECT CONNECTION_ID() AS id").id))
      add(tx, 1)
      local _, e = outbox.append(tx, { { aggregate = "a", type = "b", payload = {} } })
      local _, e2 = idem.finish(tx, "scope", "key", 1, 200, {}, "")
      t.same({ e.code, e2.code }, { "conn_lost", "conn_lost" })
      return nil, e2
    end)
    t.same({ value, failure.code }, { nil, "conn_lost" })
  end))

  t.it("has no commit to tell of where its connection was lost before", with_rows(function()
    local value, failure = sql.transaction(function(tx)
      add(tx, 1)
      t.ok(sql.exec("KILL CONNECTION " .. tx:one("SELECT CONNECTION_ID() AS id").id))
      return true
    end)
    t.equal(value, nil)
    t.equal(failure.code, "conn_lost")
    t.same(values(), { 0, 0 })
  end))

  t.it("ends at its limit, without a trace", with_rows(function()
    local value, failure = sql.transaction(function(tx)
      add(tx, 1)
      return tx:query("SELECT SLEEP(30) AS s")
    end, { timeout_ms = 200 })
    t.same({ value, failure.code }, { nil, "timeout" })
    waiting.eventually("its lock is gone", function()
      return sql.transaction(function(tx) return add(tx, 1, 5) end, { timeout_ms = 1000 })
    end)
    t.same(values(), { 5, 0 })
  end))

  t.it("makes others wait for its rows", with_rows(function()
    local locked, order = co.waiter(), {}
    waiting.together(function()
      sql.transaction(function(tx)
        add(tx, 1)
        locked:signal()
        tx:one("SELECT SLEEP(0.05) AS s")
        order[#order + 1] = "first"
        return true
      end)
    end, function()
      locked:wait(10000)
      sql.transaction(function(tx) return add(tx, 1) end)
      order[#order + 1] = "second"
    end)
    t.same(order, { "first", "second" })
    t.same(values(), { 2, 0 })
  end))
end)
