-- till/plugin/guards - the promised modules as one plugin gets them: its own copies, of what is
-- promised and nothing else, which keep to the capabilities of its manifest.
--
--   guards.module(owner, name)   -> a table; owner = { manifest =, config = later }
--
-- A use that was not declared is `nil, err` with the code `forbidden` and says what to put into
-- `capabilities`; it is logged once. A deprecated function warns once, with the line that calls it.
local capabilities = require "till.plugin.capabilities"
local err = require "till.util.err"
local log = require "till.prim.log"
local surface = require "till.plugin.surface"

local guards = {}

local guard = {}

local SPAWN_MS = 30000 -- nobody waits for it, so nobody else would end it


local function forbidden(owner, why)
  owner.warned = owner.warned or {}
  if not owner.warned[why] then
    owner.warned[why] = true
    log.warn("plugin.forbidden", { plugin = owner.manifest.name, reason = why })
  end
  return nil, err.new("forbidden", owner.manifest.name .. ": " .. why, { sent = false })
end


-- What is looked at is what is used: a metatable could say one thing first and then another.
local function plain(given)
  local out = {}
  for key, value in next, given do out[key] = value end
  return out
end


guard["till.prim.http"] = function(owner, real)
  return {
    request = function(options)
      if type(options) ~= "table" then error("http.request needs a table", 2) end
      options = plain(options)
      local allowed, why = capabilities.allows_url(owner, options.url)
      if not allowed then return forbidden(owner, why) end
      return real.request(options)
    end,
  }
end


guard["till.prim.amqp"] = function(owner, real)
  return {
    publish = function(target, messages)
      if type(target) ~= "table" then error("amqp.publish needs a table", 2) end
      target = plain(target)
      local allowed, why = capabilities.allows_broker(owner, target.host)
      if not allowed then return forbidden(owner, why) end
      return real.publish(target, messages)
    end,
  }
end


guard["till.prim.conf"] = function(owner, real)
  return {
    get = function(name)
      if type(name) ~= "string" or not name:find("^shop%.") then
        error("a plugin reads shop.* of the configuration, not " .. tostring(name)
          .. "; what it needs itself is an option in plugin.lua", 2)
      end
      return real.get(name)
    end,
    secret = function(ref)
      ref = type(ref) == "table" and plain(ref) or ref
      local allowed, why = capabilities.allows_secret(owner, ref)
      if not allowed then return forbidden(owner, why) end
      return real.secret(ref)
    end,
  }
end


-- The transaction is the real one's; its statements are looked at as the others are.
local function guarded_tx(owner, tx)
  local out = {}
  for _, method in ipairs { "query", "one", "exec" } do
    out[method] = function(_, text, ...)
      local allowed, why = capabilities.allows_statement(owner, text)
      if not allowed then return forbidden(owner, why) end
      return tx[method](tx, text, ...)
    end
  end
  return out
end


guard["till.prim.sql"] = function(owner, real)
  if capabilities.is_open(owner.manifest, "sql") then return {} end
  local out = {
    transaction = function(fn, opts)
      return real.transaction(function(tx) return fn(guarded_tx(owner, tx)) end, opts)
    end,
  }
  for _, name in ipairs { "query", "one", "exec" } do
    out[name] = function(text, ...)
      local allowed, why = capabilities.allows_statement(owner, text)
      if not allowed then return forbidden(owner, why) end
      return real[name](text, ...)
    end
  end
  return out
end


local COMMANDS = {}
for command in ([[APPEND DECR DECRBY DEL EXISTS EXPIRE GET GETSET HDEL HEXISTS HGET HGETALL HINCRBY
  HLEN HMGET HSET INCR INCRBY LLEN LPOP LPUSH LRANGE LTRIM PERSIST PEXPIRE PSETEX PTTL RPOP RPUSH
  SADD SCARD SET SETEX SETNX SISMEMBER SMEMBERS SREM STRLEN TTL TYPE ZADD ZCARD ZCOUNT ZINCRBY
  ZRANGE ZRANGEBYSCORE ZREM ZREMRANGEBYSCORE ZREVRANGE ZSCORE]]):gmatch("%u+") do
  COMMANDS[command] = true
end
local ONE_KEY = { DEL = true, EXISTS = true } -- that could take more


local function own(owner, name)
  return "plugin:" .. owner.manifest.name .. ":" .. tostring(name)
end


guard["till.prim.redis"] = function(owner, real)
  return {
    call = function(command, key, ...)
      local word = tostring(command):upper()
      if word == "PING" or word == "ECHO" then return real.call(word, key) end
      if not COMMANDS[word] or key == nil or ONE_KEY[word] and select("#", ...) > 0 then
        return forbidden(owner, ("redis %s: plugins have the commands on one key"):format(word))
      end
      return real.call(word, own(owner, key), ...)
    end,
    publish = function(channel, text) return real.publish(own(owner, channel), text) end,
    subscribe = function(channel, fn) return real.subscribe(own(owner, channel), fn) end,
  }
end


guard["till.prim.lock"] = function(owner, real)
  return {
    acquire = function(name, opts) return real.acquire(own(owner, name), opts) end,
    with = function(name, opts, fn) return real.with(own(owner, name), opts, fn) end,
  }
end


guard["till.prim.job"] = function(owner, real)
  return {
    enqueue = function(job, payload, opts)
      local own_opts = plain(opts or {})
      own_opts.plugin = owner.manifest.name
      return real.enqueue(job, payload, own_opts)
    end,
  }
end


guard["till.prim.co"] = function(_, real)
  return { spawn = function(fn, ...) real.spawn_within(SPAWN_MS, fn, ...) end }
end


-- ---- copies ---------------------------------------------------------------------------------

local function warn_once(owner, module, entry, fn)
  local warned = false
  return function(...)
    if not warned then
      warned = true
      local at = debug.getinfo(2, "Sl")
      log.warn("plugin.deprecated", { plugin = owner.manifest.name,
        what = module .. "." .. entry[1], since = entry.deprecated,
        at = at and at.short_src .. ":" .. at.currentline or "?" })
    end
    return fn(...)
  end
end


function guards.module(owner, name)
  local real, promised = require(name), surface.by_name[name]
  local over = guard[name] and guard[name](owner, real) or {}
  local out = {}
  for _, entry in ipairs(promised.functions) do
    local fn = over[entry[1]] or real[entry[1]]
    out[entry[1]] = entry.deprecated and warn_once(owner, name, entry, fn) or fn
  end
  for _, value in ipairs(promised.values or {}) do out[value[1]] = real[value[1]] end
  return out
end

return guards
