-- till/cache - rows that are read far more often than written, kept by each worker for a while.
--
--   cache.get(kind, id, load) -> value | nil, err    `load(id)` -> value | nil | nil, err
--   cache.get_many(kind, ids, load) -> { id -> value } | nil, err    `load(missing)` likewise
--   cache.peek(kind, id)      -> value | nil         without loading
--   cache.put(kind, id, value)                       what can never change, found by the way
--   cache.own(kind, { max =, ttl_ms = })             bounds of its own, instead of conf's
--   cache.invalidate(kind, ids [, publish])          after the commit that changed them;
--                        publish(channel, text) -> reply | nil, err tells the others instead, where
--                        what is loaded from changes with it
--   cache.flush([kinds])                             all of these kinds; without kinds everything
--   cache.clear()                                    everything, here only
--   cache.listen()            -> true | nil, err     waits until it is told of changes
-- A value is shared by all who get it: nobody changes it. Prices come from here and may be as old
-- as is said below. Whether there is stock, whether a promotion may be used once more and whether
-- money moved is never decided from here, but by conditions in the database. Each kind has room for
-- conf cache.max_entries, so that what strangers can make many of drives nothing else out.
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
local pages = require "till.prim.pages"
local redis = require "till.prim.redis"
local time = require "till.prim.time"

local cache = {}

local CHANNEL = "till:invalidate"
local DEAF_TTL_MS = 2000
local PING_MS = 2000
local LISTEN_MS = 100

local ALL = "*"

local max_entries, ttl_ms
local rooms = {} -- kind -> { kept, ttl_ms, tokens = id -> token }
local is_deaf = true
local heard -- who waits for the first message
local started = false


local function setup()
  max_entries = conf.get("cache.max_entries") or 20000
  ttl_ms = conf.get("cache.ttl_ms") or 30000
  if max_entries == 0 then max_entries, ttl_ms = 1, 0 end
end


function cache.own(kind, opts)
  if not max_entries then setup() end
  rooms[kind] = { kept = lru.new(opts.max or max_entries),
    ttl_ms = math.min(ttl_ms, opts.ttl_ms or ttl_ms), tokens = {} }
  return rooms[kind]
end


local function room_of(kind)
  return rooms[kind] or cache.own(kind, {})
end


function cache.peek(kind, id)
  return room_of(kind).kept:get(id, time.mono_ms())
end


local function put(room, id, value)
  local ttl = is_deaf and math.min(room.ttl_ms, DEAF_TTL_MS) or room.ttl_ms
  if ttl > 0 then room.kept:set(id, value, time.mono_ms() + ttl) end
end


function cache.put(kind, id, value)
  put(room_of(kind), id, value)
end


-- Several loads of one key share its token; it goes with the last of them.
local function take_token(room, id)
  local token = room.tokens[id] or { loads = 0, is_stale = false }
  token.loads = token.loads + 1
  room.tokens[id] = token
  return token
end


local function give_back(room, id, token)
  token.loads = token.loads - 1
  if token.loads == 0 and room.tokens[id] == token then room.tokens[id] = nil end
end


local function keep(room, id, token, value)
  give_back(room, id, token)
  if value and not token.is_stale then put(room, id, value) end
end


local function loaded(room, id, token, good, value, failure)
  keep(room, id, token, good and value or nil)
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
  local room = room_of(kind)
  local value = room.kept:get(id, time.mono_ms())
  metrics.add("till_cache_reads_total", labels_of(kind, value and "hit" or "miss"), 1)
  if value then return value end
  local token = take_token(room, id)
  return loaded(room, id, token, pcall(load, id))
end


local function load_many(room, missing, out, load)
  local held = {}
  for i, id in ipairs(missing) do held[i] = take_token(room, id) end
  local good, values, failure = pcall(load, missing)
  for i, id in ipairs(missing) do
    local value = good and values and values[id] or nil
    keep(room, id, held[i], value)
    out[id] = value
  end
  if not good then error(values, 0) end
  if not values then return nil, failure end
  return out
end


function cache.get_many(kind, ids, load)
  local room, now, out, missing = room_of(kind), time.mono_ms(), {}, {}
  local kept = room.kept
  for _, id in ipairs(ids) do
    local value = kept:get(id, now)
    if value then out[id] = value else missing[#missing + 1] = id end
  end
  local hits = #ids - #missing
  if hits > 0 then metrics.add("till_cache_reads_total", labels_of(kind, "hit"), hits) end
  if #missing == 0 then return out end
  metrics.add("till_cache_reads_total", labels_of(kind, "miss"), #missing)
  return load_many(room, missing, out, load)
end


local function drop_one(room, id)
  pages.drop()
  room.kept:drop(id)
  local token = room.tokens[id]
  if token then
    token.is_stale = true
    room.tokens[id] = nil
  end
end


local function drop_all(room)
  pages.drop()
  room.kept:clear()
  for _, token in pairs(room.tokens) do token.is_stale = true end
  room.tokens = {}
end


function cache.clear()
  for _, room in pairs(rooms) do drop_all(room) end
end


local function drop(key)
  if key == ALL then return cache.clear() end
  local kind, id = key:match("^(%l+):(.*)$")
  local room = kind and rooms[kind]
  if not room then return end
  if id == ALL then drop_all(room) else drop_one(room, id) end
end


--- A worker that cannot be told finds out by TTL; the writer does not wait for that.
local function tell(keys, publish)
  if #keys == 0 then return end
  for _, key in ipairs(keys) do drop(key) end
  local text = table.concat(keys, "\n")
  local good, failure = (publish or redis.publish)(CHANNEL, text)
  if good == nil then
    is_deaf = true
    log.warn("cache.unpublished", { key = text:sub(1, 200), error = tostring(failure) })
  end
  if not publish then return end
  for _, key in ipairs(keys) do drop(key) end -- what was loaded before it had changed
end


function cache.invalidate(kind, ids, publish)
  if type(ids) ~= "table" then ids = { ids } end
  local keys = {}
  for i, id in ipairs(ids) do keys[i] = kind .. ":" .. id end
  tell(keys, publish)
end


function cache.flush(kinds)
  if not kinds then return tell({ ALL }) end
  local keys = {}
  for i, kind in ipairs(kinds) do keys[i] = kind .. ":" .. ALL end
  tell(keys)
end


local function on_message(text)
  if text then
    for key in text:gmatch("[^\n]+") do drop(key) end
    return
  end
  is_deaf = false
  cache.clear()
  if heard then heard:signal(true) end
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


-- Begins to be told of changes, before the generation is served.
function cache.listen()
  cache.start()
  if not is_deaf then return true end
  heard = co.waiter()
  return heard:wait(LISTEN_MS)
end


return cache
