-- till/test - the spec harness.
--
--   local t = require "till.test"
--   t.describe("money.split", function()
--     t.it("gives odd cents to the first", function()
--       t.same(money.split(10, { 1, 1, 1 }), { 4, 3, 3 })
--     end)
--   end)
--
-- Needs nothing but the language: output goes through an injected `print`, files come through an
-- injected `load`, so that the same specs run under plain luajit and inside the server's VM.
-- Every `it` runs at once, under xpcall, in the coroutine that called run(): a body may wait.
--
--   run(files, { print=, load=, filter=, check= })
--                           -> { passed=, failed=, skipped=, failures={...} }
--                           check() is asked after each `it`: the text that it answers fails it
--   describe(name, fn)      groups; nests
--   it(sentence, fn)        one promise, one result
--   table(cases, fn)        fn(case) for each; each case has a `why`. Outside an `it` every case
--                           is an `it` of its own, inside one it names the case that broke
--   same(actual, expected [, why])    deep equality; the message lists each path that differs
--   equal(actual, expected [, why])   ==
--   ok(value [, why])                 neither nil nor false; returns the value
--   throws(fn [, pattern])            fn must raise; returns what it raised
--   fail(why)               fails at once
--   plugin, rejects, cart, money, discount   for specs of plugins: see till.test.plugin
--   empty_shop()            for specs of what writes: see till.test.database
--   skip(reason)            inside `it`: this test; inside `describe`: the rest of the group
local diff = require "till.test.diff"

local test = {}

local SKIP = {}
local FAILURE = {}
local current


local function is_ours(source)
  return source:find("till/test/", 1, true) ~= nil
end


-- The spec's own line says more than the line of a support function it called through, and that
-- more than ours; a VM without `debug` gets no line at all.
local function where()
  if not debug or not debug.getinfo then return nil end
  local fallback
  for level = 3, 60 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.currentline > 0 and not is_ours(info.source) then
      local at = info.short_src .. ":" .. info.currentline
      if current and info.source == "@" .. current.file then return at end
      fallback = fallback or at
    end
  end
  return fallback
end


local function raise(message, why)
  if why then message = tostring(why) .. ": " .. message end
  error(setmetatable({ message = message, at = where() }, FAILURE), 0)
end


local function on_error(err)
  local mark = type(err) == "table" and getmetatable(err) or nil
  if mark == FAILURE or mark == SKIP then return err end
  local text = tostring(err)
  if debug and debug.traceback then text = debug.traceback(text, 2) end
  return setmetatable({ message = text, at = where() }, FAILURE)
end


local function full_name(sentence)
  local path = table.concat(current.path, " > ")
  if sentence == nil then return path end
  return path == "" and sentence or path .. " > " .. sentence
end


local function report(name, failure)
  local run = current
  run.failed = run.failed + 1
  local at = failure.at or run.file
  run.failures[#run.failures + 1] = { name = name, at = at, message = failure.message }
  run.print("FAILED " .. name .. "\n  at " .. at .. "\n  " .. failure.message:gsub("\n", "\n  "))
end


local function settle(name, good, err)
  if good then
    current.passed = current.passed + 1
  elseif getmetatable(err) == SKIP then
    current.skipped = current.skipped + 1
    current.print("skipped " .. name .. ": " .. err.reason)
  else
    report(name, err)
  end
end


local function need_run(what)
  if not current then error("test." .. what .. " outside of test.run", 3) end
end


function test.describe(name, fn)
  need_run("describe")
  local run = current
  local depth = #run.path + 1
  run.path[depth] = name
  local good, err = xpcall(fn, on_error)
  if not good then settle(full_name(), false, err) end
  run.path[depth] = nil
end


local function checked(good, err)
  local why = current.check and current.check()
  if not good or not why then return good, err end
  return false, { message = why }
end


function test.it(sentence, fn)
  need_run("it")
  local run = current
  if run.inside then error("test.it inside of test.it", 2) end
  local name = full_name(sentence)
  run.seen = run.seen + 1
  if run.filter and not name:find(run.filter) then return end
  run.inside = true
  local good, err = checked(xpcall(fn, on_error))
  run.inside = false
  settle(name, good, err)
end


local function run_case(case, fn)
  local good, err = xpcall(function() return fn(case) end, on_error)
  if good then return end
  if getmetatable(err) == FAILURE then err.message = case.why .. ": " .. err.message end
  error(err, 0)
end


function test.table(cases, fn)
  need_run("table")
  for i, case in ipairs(cases) do
    if type(case.why) ~= "string" then error("case " .. i .. " has no `why`", 2) end
    if current.inside then
      run_case(case, fn)
    else
      test.it(case.why, function() return fn(case) end)
    end
  end
end


function test.same(actual, expected, why)
  local text = diff.describe(actual, expected)
  if text then raise(text, why) end
end


function test.equal(actual, expected, why)
  if actual ~= expected then
    raise("got " .. diff.show(actual) .. ", expected " .. diff.show(expected), why)
  end
end


function test.ok(value, why)
  if not value then raise("got " .. tostring(value) .. ", expected a true value", why) end
  return value
end


function test.throws(fn, pattern)
  local good, err = pcall(fn)
  if good then raise("expected an error, got none") end
  if pattern and not tostring(err):find(pattern) then
    raise("raised " .. diff.show(tostring(err)) .. ", expected it to match " .. diff.show(pattern))
  end
  return err
end


function test.fail(why)
  raise(tostring(why))
end


function test.skip(reason)
  error(setmetatable({ reason = tostring(reason) }, SKIP), 0)
end


-- They need the server's modules, which pure specs do without.
for name, kit in pairs { plugin = "plugin", rejects = "plugin", cart = "plugin", money = "plugin",
  discount = "plugin", empty_shop = "database" } do
  test[name] = function(...) return require("till.test." .. kit)[name](...) end
end


local function run_file(path, load)
  local failed = current.failed
  current.file, current.path, current.seen, current.inside = path, {}, 0, false
  local chunk, err = load(path)
  if not chunk then return report(path, { message = tostring(err) }) end
  local good, failure = xpcall(chunk, on_error)
  if not good then
    settle(path, false, failure)
  elseif current.seen == 0 and current.failed == failed then
    report(path, { message = "holds no test" })
  end
end


-- A run inside a run (the harness' own spec) leaves the outer one as it was.
function test.run(files, opts)
  opts = opts or {}
  local outer = current
  local run = {
    passed = 0, failed = 0, skipped = 0, failures = {},
    print = opts.print or print, filter = opts.filter, check = opts.check,
  }
  for _, path in ipairs(files) do
    current = run
    run_file(path, opts.load or loadfile)
  end
  current = outer
  return {
    passed = run.passed, failed = run.failed, skipped = run.skipped, failures = run.failures,
  }
end


return test
