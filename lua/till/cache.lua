-- till/cache - rows that are read far more often than written, kept by each worker for a while.
--
--   cache.get(kind, id, load) -> value | nil, err    `load(id)` -> value | nil | nil, err
--   cache.get_many(kind, ids, load) -> { id -> value } | nil, err    `load(missing)` likewise
--   cache.peek(kind, id)      -> value | nil         without loading
--   cache.invalidate(kind, ids)                      after the commit that changed them
--   cache.clear(kind?)                               here only
-- A value is shared by all who get it: nobody changes it. Nothing that decides over money or stock
-- may come from here.
--
-- Invariant: a value whose load began before an invalidation of its key is never kept. Each load
-- holds the token of its key; an invalidation takes the token away and marks it, so what comes back
-- under it is handed to those who wait and then forgotten.
--
-- Between workers the word travels by Redis, "kind:id" on one channel. A message that says that
-- messages may be missing empties the cache; while Redis does not answer nothing is kept longer
-- than two seconds; and conf cache.ttl_ms ends everything in the end.
local lru = require "till.util.lru"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local redis = require "till.prim.redis"
local time = require "till.prim.time"

local cache = {}

local CHANNEL = "till:invalidate"
local DEAF_TTL_MS = 2000
local PING_MS = 2000

local kept, ttl_ms
local tokens = {}
local is_deaf = true
local started = false


local function setup()
  local max = conf.get("cache.max_entries") or 20000
  ttl_ms = conf.get("cache.ttl_ms") or 30000
  kept = lru.new(math.max(1, max))
  if max == 0 then ttl_ms = 0 end
end


local function ttl()
  return is_deaf and math.min(ttl_ms, DEAF_TTL_MS) or ttl_ms
end


local function key_of(kind, id)
  return kind .. ":" .. id
end


function cache.peek(kind, id)
  if not kept then setup() end
  return kept:get(key_of(kind, id), time.mono_ms())
end


-- Several loads of one key share its token; it goes with the last of them.
local function take_token(key)
  local token = tokens[key] or { loads = 0, is_stale = false }
  token.loads = token.loads + 1
  tokens[key] = token
  return token
end


local function give_back(key, token)
  token.loads = token.loads - 1
  if token.loads == 0 and tokens[key] == token then tokens[key] = nil end
end


local function keep(key, token, value)
  give_back(key, token)
  if value and not token.is_stale and ttl() > 0 then
    kept:set(key, value, time.mono_ms() + ttl())
  end
end


local function loaded(key, token, good, value, failure)
  keep(key, token, good and value or nil)
  if not good then error(value, 0) end
  return value, failure
end


local labels = { hit = {}, miss = {} }


local function labels_of(kind, result)
  local known = labels[result]
  if not known[kind] then known[kind] = { kind = kind, result = result } end
  return known[kind]
end


function cache.get(kind, id, load)
  local value = cache.peek(kind, id)
  metrics.add("till_cache_reads_total", labels_of(kind, value and "hit" or "miss"), 1)
  if value then return value end
  local key = key_of(kind, id)
  local token = take_token(key)
  return loaded(key, token, pcall(load, id))
end


local function load_many(kind, missing, out, load)
  local held = {}
  for i, id in ipairs(missing) do held[i] = take_token(key_of(kind, id)) end
  local good, values, failure = pcall(load, missing)
  for i, id in ipairs(missing) do
    local value = good and values and values[id] or nil
    keep(key_of(kind, id), held[i], value)
    out[id] = value
  end
  if not good then error(values, 0) end
  if not values then return nil, failure end
  return out
end


function cache.get_many(kind, ids, load)
  local out, missing, hits = {}, {}, 0
  for _, id in ipairs(ids) do
    out[id] = cache.peek(kind, id)
    if out[id] then hits = hits + 1 else missing[#missing + 1] = id end
  end
  if hits > 0 then metrics.add("till_cache_reads_total", labels_of(kind, "hit"), hits) end
  if #missing == 0 then return out end
  metrics.add("till_cache_reads_total", labels_of(kind, "miss"), #missing)
  return load_many(kind, missing, out, load)
end


local function drop(key)
  if kept then kept:drop(key) end
  local token = tokens[key]
  if token then
    token.is_stale = true
    tokens[key] = nil
  end
end


function cache.clear()
  if kept then kept:clear() end
  for _, token in pairs(tokens) do token.is_stale = true end
  tokens = {}
end


--- A worker that cannot be told finds out by TTL; the writer does not wait for that.
function cache.invalidate(kind, ids)
  if type(ids) ~= "table" then ids = { ids } end
  for _, id in ipairs(ids) do
    local key = key_of(kind, id)
    drop(key)
    local good, failure = redis.publish(CHANNEL, key)
    if good == nil then
      is_deaf = true
      log.warn("cache.unpublished", { key = key, error = tostring(failure) })
    end
  end
end


local function on_message(text)
  if text then return drop(text) end
  is_deaf = false
  cache.clear()
end


-- A connection that is gone tells nobody: it is asked.
local function watch()
  while not co.closing() do
    local good = redis.call("PING")
    if not good and not is_deaf then
      is_deaf = true
      cache.clear()
    end
    time.sleep(PING_MS)
  end
end


function cache.start()
  if started then return end
  started = true
  redis.subscribe(CHANNEL, on_message)
  co.spawn(watch)
end


return cache
