local t = require "till.test"
local file = require "till.prim.file"
local held = require "till.test.held"
local sql = require "till.prim.sql"
local time = require "till.prim.time"


-- A chunk of another file than a spec, as the product's are.
local function foreign(text)
  return assert(file.load("local sql, time, fn = ...\n" .. text, "lua/till/flow/sample.lua"))
end


local function found(text, fn)
  foreign(text)(sql, time, fn)
  return held.found()
end


t.describe("what waits within a transaction", function()
  t.table({
    { why = "is a statement of the pool",
      text = "sql.transaction(function() return sql.one 'SELECT 1 AS n' end)",
      says = "^sql.one within a transaction.*sample.lua:2" },
    { why = "is another transaction",
      text = "sql.transaction(function() return sql.transaction(function() return true end) end)",
      says = "^sql.transaction within" },
    { why = "is a sleep, after another transaction in it too",
      text = "sql.transaction(function() sql.transaction(function() return true end)\n"
        .. "return time.sleep(0) end)", says = "^sql.transaction within" },
    { why = "is not the transaction's own statement",
      text = "sql.transaction(function(tx) return tx:one 'SELECT 1 AS n' end)" },
    { why = "is nothing after it, one that threw included",
      text = "pcall(sql.transaction, function() error 'no' end)\n"
        .. "sql.transaction(function() return true end)\nsql.one 'SELECT 1 AS n'" },
    { why = "is not what a spec does there",
      text = "sql.transaction(function() return (fn()) end)",
      fn = function() return (sql.one "SELECT 1 AS n") end },
  }, function(case)
    t.empty_shop()
    local what = found(case.text, case.fn)
    if not case.says then return t.equal(what, nil) end
    t.ok(what and what:find(case.says), what)
  end)

  t.it("is not counted of a transaction that a spec opened", function()
    t.empty_shop()
    assert(sql.transaction(function() return foreign("return sql.one 'SELECT 1 AS n'")(sql) end))
    t.equal(held.found(), nil)
  end)
end)
