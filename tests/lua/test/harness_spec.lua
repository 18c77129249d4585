local t = require "till.test"


-- Runs `body` as a spec file of its own and returns the counts and what was printed.
local function run(body, filter, check)
  local printed = {}
  local result = t.run({ "inner_spec.lua" }, {
    filter = filter, check = check,
    print = function(text) printed[#printed + 1] = text end,
    load = function() return body end,
  })
  return result, table.concat(printed, "\n")
end


t.describe("the harness", function()
  t.it("counts what passed, failed and was skipped", function()
    local result = run(function()
      t.it("a", function() end)
      t.it("b", function() t.equal(1, 2) end)
      t.it("c", function() t.skip("not yet") end)
    end)
    t.same({ result.passed, result.failed, result.skipped }, { 1, 1, 1 })
  end)

  t.it("names the group, the sentence and the line of a failure", function()
    local _, printed = run(function()
      t.describe("outer", function()
        t.it("breaks", function() t.equal(1, 2, "sum") end)
      end)
    end)
    t.ok(printed:find("FAILED outer > breaks", 1, true), printed)
    t.ok(printed:find("harness_spec.lua:%d+"), printed)
    t.ok(printed:find("sum: got 1, expected 2", 1, true), printed)
  end)

  t.it("goes on after an error in a body, a group and a file", function()
    local result = run(function()
      t.it("errs", function() error("boom") end)
      t.describe("group", function() error("boom") end)
      t.it("still runs", function() end)
      error("boom")
    end)
    t.same({ result.passed, result.failed }, { 1, 3 })
  end)

  t.it("counts a file without a test as failed", function()
    t.equal(run(function() end).failed, 1)
  end)

  t.it("reports a file that does not load", function()
    local result = t.run({ "x" }, {
      print = function() end,
      load = function() return nil, "x:1: unexpected symbol" end,
    })
    t.equal(result.failures[1].message, "x:1: unexpected symbol")
  end)

  t.it("lists every path that differs", function()
    local result = run(function()
      t.it("a", function()
        t.same({ n = 1, list = { 1, { x = 2 } } }, { n = 1, list = { 1, { x = 3 } }, extra = "e" })
      end)
    end)
    t.equal(result.failures[1].message,
      'at .extra: got nil, expected "e"\nat .list[2].x: got 2, expected 3')
  end)

  t.it("lets a body wait", function()
    local result
    local co = coroutine.create(function()
      result = run(function()
        t.it("waits", function() t.equal(coroutine.yield("asked"), "answer") end)
      end)
    end)
    t.same({ coroutine.resume(co) }, { true, "asked" })
    t.ok(coroutine.resume(co, "answer"))
    t.equal(result.passed, 1)
  end)

  t.it("makes every case of a table a test, and names the case inside a test", function()
    local cases = { { why = "one", v = 1 }, { why = "two", v = 2 } }
    local function check(case) t.equal(case.v, 1) end
    local outside = run(function() t.table(cases, check) end)
    t.same({ outside.passed, outside.failed }, { 1, 1 })
    local inside = run(function() t.it("all", function() t.table(cases, check) end) end)
    t.equal(inside.failures[1].message, "two: got 2, expected 1")
  end)

  t.it("takes an error for throws only when it matches", function()
    local result = run(function()
      t.it("a", function() t.throws(function() error("no stock") end, "stock") end)
      t.it("b", function() t.throws(function() error("no stock") end, "price") end)
      t.it("c", function() t.throws(function() end) end)
    end)
    t.same({ result.passed, result.failed }, { 1, 2 })
  end)

  t.it("fails what went well where the check of the run says why", function()
    local left = { "it waited", nil, "it waited too" }
    local asked = 0
    local result = run(function()
      t.it("a", function() end)
      t.it("b", function() end)
      t.it("c", function() t.fail("by itself") end)
    end, nil, function()
      asked = asked + 1
      return left[asked]
    end)
    t.same({ result.passed, result.failed, asked }, { 1, 2, 3 })
    t.same({ result.failures[1].message, result.failures[2].message },
      { "it waited", "by itself" })
  end)

  t.it("runs only what the filter names", function()
    local result = run(function()
      t.it("keep this", function() end)
      t.it("drop this", function() error("ran") end)
    end, "keep")
    t.same({ result.passed, result.failed }, { 1, 0 })
  end)
end)
