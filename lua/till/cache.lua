-- till/cache - rows that are read far more often than written, kept by each worker for a while.
--
--   cache.get(kind, id, load) -> value | nil, err    `load(id)` -> value | nil | nil, err
--   cache.get_many(kind, ids, load) -> { id -> value } | nil, err    `load(missing)` likewise
--   cache.peek(kind, id)      -> value | nil         without loading
--   cache.put(kind, id, value)                       what can never change, found by the way
--   cache.own(kind, { max =, ttl_ms = })             a room of its own: what strangers can make
--                                                    many of drives nothing else out
--   cache.invalidate(kind, ids)                      after the commit that changed them
--   cache.flush([kinds])                             all of these, which have rooms of their own;
--                                                    without kinds everything
--   cache.clear()                                    everything, here only
-- A value is shared by all who get it: nobody changes it. Nothing that decides over money or stock
-- may come from here.
--
-- Invariant: a value whose load began before an invalidation of its key is never kept. Each load
-- holds the token of its key; an invalidation takes the token away and marks it, so what comes back
-- under it is handed to those who wait and then forgotten.
--
-- Between workers the word travels by Redis on one channel: lines of "kind:id"; the id "*" is all
-- of a kind, "*" alone everything. It is sent before the writer is answered, so who is told that it
-- was done finds it done with every worker that hears Redis. A message that says that messages
-- may be missing empties the cache; while Redis does not answer nothing is kept longer than two
-- seconds; and conf cache.ttl_ms ends everything in the end.
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

local ALL = "*"

local kept, max_entries, ttl_ms
local rooms = {} -- of kinds that have their own: kind -> { kept, ttl_ms }
local tokens = {}
local is_deaf = true
local started = false


local function setup()
  max_entries = conf.get("cache.max_entries") or 20000
  ttl_ms = conf.get("cache.ttl_ms") or 30000
  if max_entries == 0 then max_entries, ttl_ms = 1, 0 end
  kept = lru.new(max_entries)
end


function cache.own(kind, opts)
  if not kept then setup() end
  rooms[kind] = { kept = lru.new(opts.max or max_entries), ttl_ms = opts.ttl_ms or ttl_ms }
end


local function room_of(kind)
  local room = rooms[kind]
  if room then return room.kept end
  if not kept then setup() end
  return kept
end


local function ttl_of(kind)
  local ttl = rooms[kind] and math.min(ttl_ms, rooms[kind].ttl_ms) or ttl_ms
  return is_deaf and math.min(ttl, DEAF_TTL_MS) or ttl
end


local function key_of(kind, id)
  return kind .. ":" .. id
end


function cache.peek(kind, id)
  return room_of(kind):get(key_of(kind, id), time.mono_ms())
end


function cache.put(kind, id, value)
  local ttl = ttl_of(kind)
  if ttl > 0 then room_of(kind):set(key_of(kind, id), value, time.mono_ms() + ttl) end
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


local function keep(kind, id, token, value)
  give_back(key_of(kind, id), token)
  if value and not token.is_stale then cache.put(kind, id, value) end
end


local function loaded(kind, id, token, good, value, failure)
  keep(kind, id, token, good and value or nil)
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
  local token = take_token(key_of(kind, id))
  return loaded(kind, id, token, pcall(load, id))
end


local function load_many(kind, missing, out, load)
  local held = {}
  for i, id in ipairs(missing) do held[i] = take_token(key_of(kind, id)) end
  local good, values, failure = pcall(load, missing)
  for i, id in ipairs(missing) do
    local value = good and values and values[id] or nil
    keep(kind, id, held[i], value)
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


local function drop_one(kind, key)
  room_of(kind):drop(key)
  local token = tokens[key]
  if token then
    token.is_stale = true
    tokens[key] = nil
  end
end


local function drop_all(kind)
  local room, head = rooms[kind], kind .. ":"
  if not room then return end
  room.kept:clear()
  for key, token in pairs(tokens) do
    if key:sub(1, #head) == head then
      token.is_stale = true
      tokens[key] = nil
    end
  end
end


function cache.clear()
  if kept then kept:clear() end
  for _, room in pairs(rooms) do room.kept:clear() end
  for _, token in pairs(tokens) do token.is_stale = true end
  tokens = {}
end


local function drop(key)
  if key == ALL then return cache.clear() end
  local kind, id = key:match("^(%l+):(.*)$")
  if not kind then return end
  if id == ALL then return drop_all(kind) end
  drop_one(kind, key)
end


--- A worker that cannot be told finds out by TTL; the writer does not wait for that.
local function tell(keys)
  if #keys == 0 then return end
  for _, key in ipairs(keys) do drop(key) end
  local text = table.concat(keys, "\n")
  local good, failure = redis.publish(CHANNEL, text)
  if good == nil then
    is_deaf = true
    log.warn("cache.unpublished", { key = text:sub(1, 200), error = tostring(failure) })
  end
end


function cache.invalidate(kind, ids)
  if type(ids) ~= "table" then ids = { ids } end
  local keys = {}
  for i, id in ipairs(ids) do keys[i] = key_of(kind, id) end
  tell(keys)
end


function cache.flush(kinds)
  if not kinds then return tell({ ALL }) end
  local keys = {}
  for i, kind in ipairs(kinds) do keys[i] = key_of(kind, ALL) end
  tell(keys)
end


local function on_message(text)
  if text then
    for key in text:gmatch("[^\n]+") do drop(key) end
    return
  end
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
