-- till/flow/stock_view - stock as shoppers are shown it, kept in Redis for all workers: speed,
-- never truth. What is sold is decided by the tables.
--
--   get(variant_ids)     -> { variant id -> offer } | nil, err     offer as till.store.offers
--   refresh(variant_ids) -> true | nil, err     the event `stock.changed`: what the tables say now
--   stale(variant_ids, channel, text) -> reply | nil, err    whoever changed their stock, after the
--                        commit: not to be shown any more; in the same round trip this is published
--   differs(variant_ids) -> { variant id -> { shown =, offer = } } | nil, err: whose value is not
--                        that of its version, or of a version that the tables never had; they are
--                        forgotten
--
-- A key holds "version:offer", or "version:?" where only the version still counts. The version of a
-- variant's stock is part of what the tables are asked for, and only grows: a value goes in where
-- none of that version or a later one is, so an older one never overwrites a newer one, however
-- late it comes. Each change has its event, whose handler brings what is there by then; so a value
-- that a slow reader left behind is replaced. TTL_MS ends everything, also what came in between
-- just when Redis was flushed. Flushed at any time: the tables are asked, and it fills again.
-- While Redis is away they are asked too; events that find it so are done: it comes back with
-- what it had at most TTL_MS ago. Bundles are not kept: their parts may be others, of lower
-- versions.
local co = require "till.prim.co"
local json = require "till.prim.json"
local metrics = require "till.prim.metrics"
local offers = require "till.store.offers"
local redis = require "till.prim.redis"

local view = {}

local TTL_MS = 60000
local AT_ONCE = 300 -- a command takes 1024 parts, of which each has three
local PREFIX = "till:stock:"

local PUT = [[
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local version = tonumber(ARGV[2 * i])
  if not held or tonumber(string.match(held, '^%d+')) < version then
    redis.call('SET', key, ARGV[2 * i] .. ':' .. ARGV[2 * i + 1], 'PX', ARGV[1])
  end
end
return 1]]

local STALE = [[
for _, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held then redis.call('SET', key, string.match(held, '^%d+') .. ':?', 'PX', ARGV[1]) end
end
return redis.call('PUBLISH', ARGV[2], ARGV[3])]]

local HIT, MISS = { result = "hit" }, { result = "miss" }


local function keys_of(variant_ids)
  local keys = {}
  for i, id in ipairs(variant_ids) do keys[i] = PREFIX .. id end
  return keys
end


local function run(script, keys, args)
  local all = { #keys }
  for _, key in ipairs(keys) do all[#all + 1] = key end
  for _, arg in ipairs(args) do all[#all + 1] = arg end
  return redis.call("EVAL", script, unpack(all))
end


local function put_some(ids, loaded)
  local args = { TTL_MS }
  for _, id in ipairs(ids) do
    args[#args + 1] = ("%.0f"):format(loaded[id].version)
    args[#args + 1] = json.encode(loaded[id])
  end
  return run(PUT, keys_of(ids), args)
end


local function put(loaded)
  local ids = {}
  for id, offer in pairs(loaded) do
    if not offer.is_bundle then ids[#ids + 1] = id end
    if #ids == AT_ONCE then
      put_some(ids, loaded)
      ids = {}
    end
  end
  if #ids > 0 then put_some(ids, loaded) end
end


-- -> { id -> offer }, the ids that are not there; nothing where Redis does not answer
local function read(variant_ids)
  local replies = redis.call("MGET", unpack(keys_of(variant_ids)))
  if not replies then return nil end
  local out, missing = {}, {}
  for i, id in ipairs(variant_ids) do
    local text = replies[i] and replies[i]:match("^%d+:({.*)$")
    local offer = text and json.decode(text)
    if offer then out[id] = offer else missing[#missing + 1] = id end
  end
  return out, missing
end


local function count(labels, n)
  if n > 0 then metrics.add("till_stock_view_reads_total", labels, n) end
end


--- Who reads does not wait for what he leaves behind for others.
function view.get(variant_ids)
  if #variant_ids == 0 then return {} end
  local out, missing = read(variant_ids)
  if not out then return offers.load(variant_ids) end
  count(HIT, #variant_ids - #missing)
  count(MISS, #missing)
  if #missing == 0 then return out end
  local loaded, e = offers.load(missing)
  if not loaded then return nil, e end
  for id, offer in pairs(loaded) do out[id] = offer end
  co.spawn(put, loaded)
  return out
end


function view.refresh(variant_ids)
  local loaded, e = offers.load(variant_ids)
  if not loaded then return nil, e end
  put(loaded)
  return true
end


function view.stale(variant_ids, channel, text)
  return run(STALE, keys_of(variant_ids), { TTL_MS, channel, text })
end


-- A value of an older version may have its event under way: that is no difference.
local function is_wrong(shown, offer)
  if shown.version ~= offer.version then return shown.version > offer.version end
  return shown.available ~= offer.available or shown.more ~= offer.more
end


--- Redis is read first: a later version than the tables have afterwards is one that they never had.
function view.differs(variant_ids)
  local out, wrong = {}, {}
  local shown = #variant_ids > 0 and read(variant_ids)
  if not shown or not next(shown) then return out end
  local now, e = offers.load(variant_ids)
  if not now then return nil, e end
  for id, value in pairs(shown) do
    if is_wrong(value, now[id]) then
      out[id] = { shown = value, offer = now[id] }
      wrong[#wrong + 1] = PREFIX .. id
    end
  end
  if #wrong > 0 then redis.call("DEL", unpack(wrong)) end
  return out
end


return view
