-- till/test/held - finds what waits for others while its call has a transaction open.
--
--   watch()    from now on, in this process
--   found()    -> what and where (a stack), the first since it was asked last | nil
--
-- A transaction has one of the pool's few connections. Who wants a second one within it, by
-- sql.query or a store without its tx, stands still with all others who do so once none is left;
-- who waits there for a provider, Redis or another call keeps it from others meanwhile.
-- A transaction of a spec is its own matter.
local modules = {
  sql = require "till.prim.sql", co = require "till.prim.co", http = require "till.prim.http",
  amqp = require "till.prim.amqp", redis = require "till.prim.redis",
  lock = require "till.prim.lock", time = require "till.prim.time", box = require "till.prim.box",
  idem = require "till.prim.idem", outbox = require "till.prim.outbox",
  combine = require "till.prim.combine", generation = require "till.prim.generation",
}

local held = {}

local WAITING = {
  sql = { "query", "one", "exec", "whole", "transaction" }, http = { "request" },
  amqp = { "publish" }, redis = { "call", "publish" }, lock = { "acquire", "with" },
  time = { "sleep" }, box = { "evaluate", "check" }, idem = { "claim", "forget" },
  outbox = { "claim", "done", "extend", "release", "retry" }, generation = { "ask" },
}

local open = setmetatable({}, { __mode = "k" }) -- coroutine -> its open transactions
local first
local is_watching = false


local function is_of_spec(source)
  return source:find("^@tests/") or source:find("_spec%.lua$")
end


-- A spec that does something at that moment, by a stand-in, means to.
local function is_asked_by_spec()
  for level = 4, 100 do
    local info = debug.getinfo(level, "S")
    if not info or info.source:find("till/test/held.lua", 1, true) then return false end
    if is_of_spec(info.source) then return true end
  end
  return false
end


local function note(what)
  if first or not open[coroutine.running() or false] or is_asked_by_spec() then return end
  first = debug.traceback(what .. " within a transaction", 3)
end


local function guarded(what, fn)
  return function(...)
    note(what)
    return fn(...)
  end
end


local function closed(me, before, good, ...)
  open[me] = before
  if not good then error((...), 0) end
  return ...
end


local function counted(fn)
  if is_of_spec(debug.getinfo(fn, "S").source) then return fn end
  return function(tx)
    local me = coroutine.running()
    local before = open[me]
    open[me] = true
    return closed(me, before, pcall(fn, tx))
  end
end


-- What `module[make]` makes waits by its `method`.
local function guard_made(module, make, method)
  local real = module[make]
  module[make] = function(...)
    local made = real(...)
    made[method] = guarded(make .. ":" .. method, made[method])
    return made
  end
end


function held.watch()
  if is_watching then return end
  is_watching = true
  local transaction = modules.sql.transaction
  modules.sql.transaction = function(fn, opts) return transaction(counted(fn), opts) end
  for name, functions in pairs(WAITING) do
    for _, fn in ipairs(functions) do
      modules[name][fn] = guarded(name .. "." .. fn, modules[name][fn])
    end
  end
  guard_made(modules.co, "waiter", "wait")
  guard_made(modules.combine, "kind", "go")
end


function held.found()
  local what = first
  first = nil
  return what
end


return held
