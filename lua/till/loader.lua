-- till/loader - gathers what many ask for within one turn of the loop into one statement.
--
--   local products = loader.new(function(keys) return { [key] = row, ... } | nil, err end,
--                               { max = 200 })
--   products:load(key)        -> row | nil (there is none) | nil, err
--   products:load_many(keys)  -> { [key] = row } | nil, err
--
-- The same key asked for twice is fetched once; an error goes to everyone who waits for the batch.
-- Nothing is kept beyond the batch: that is the cache's part.
local co = require "till.prim.co"
local err = require "till.util.err"
local log = require "till.prim.log"

local loader = {}
loader.__index = loader

local WAIT_MS = 30000


function loader.new(fetch, opts)
  if type(fetch) ~= "function" then error("loader.new needs a function", 2) end
  return setmetatable({ fetch = fetch, max = opts and opts.max or 200, batch = nil }, loader)
end


local function failed(thrown)
  if err.is(thrown) then return thrown end
  log.error("loader.fault", { error = debug.traceback(tostring(thrown), 2) })
  return err.new("internal", "a loader failed")
end


-- Answers every waiter exactly once, whatever the fetch does.
local function run(self, batch)
  if self.batch == batch then self.batch = nil end
  local good, rows, failure = xpcall(self.fetch, failed, batch.keys)
  if not good then rows, failure = nil, rows end
  if not rows and not failure then failure = err.new("internal", "a loader answered nothing") end
  for _, waiter in ipairs(batch.waiters) do waiter:signal({ rows = rows, failure = failure }) end
end


local function batch_of(self)
  if self.batch and #self.batch.keys < self.max then return self.batch end
  local batch = { keys = {}, known = {}, waiters = {} }
  self.batch = batch
  co.turn_end(function() run(self, batch) end)
  return batch
end


local function add(self, key)
  local batch = self.batch
  if batch and batch.known[key] then return batch end
  batch = batch_of(self)
  batch.known[key] = true
  batch.keys[#batch.keys + 1] = key
  return batch
end


local function wait(batch)
  local waiter = co.waiter()
  batch.waiters[#batch.waiters + 1] = waiter
  local answer, failure = waiter:wait(WAIT_MS, true)
  if not answer then return nil, failure end
  return answer.rows, answer.failure
end


function loader:load(key)
  if key == nil then error("loader:load needs a key", 2) end
  local rows, failure = wait(add(self, key))
  if not rows then return nil, failure end
  return rows[key]
end


-- All batches are joined before any of them is waited for.
function loader:load_many(keys)
  local batches, seen, of_key, out = {}, {}, {}, {}
  for _, key in ipairs(keys) do
    local batch = add(self, key)
    of_key[key] = batch
    if not seen[batch] then
      seen[batch] = { waiter = co.waiter() }
      batch.waiters[#batch.waiters + 1] = seen[batch].waiter
      batches[#batches + 1] = batch
    end
  end
  for _, batch in ipairs(batches) do
    local answer, failure = seen[batch].waiter:wait(WAIT_MS, true)
    if not answer then return nil, failure end
    if not answer.rows then return nil, answer.failure end
    seen[batch].rows = answer.rows
  end
  for key, batch in pairs(of_key) do out[key] = seen[batch].rows[key] end
  return out
end


return loader
