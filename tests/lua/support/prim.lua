-- support/prim - a set of modules of its own over stand-ins, for specs of pure logic.
--
--   local prim = require "tests.support.prim"
--   prim.with({ ["till.store.keys"] = {...} }, function(fakes, require) ... end)
--   local fresh = prim.world({ ["till.prim.time"] = {...} })     a `require` over these alone
--
-- What the `require` handed over gives is loaded afresh, over the stand-ins (and `extra`), so that
-- no spec sees what another left behind. Stand-ins are there for what waits, remembers or counts;
-- all other prims are the real ones. They remember: fakes.log, fakes.metrics, fakes.published.
-- Specs of stores and flows have no place here: see support/live.
local bundle = require "till.prim.bundle"
local data = require "till.prim.data"
local file = require "till.prim.file"
local idem = require "till.prim.idem"

local prim = {}

-- One error type for all, or err.is would not know its own.
local SHARED = { ["till.util.err"] = true }


local function conf_fake(fakes)
  return {
    get = function(name) return fakes.conf[name] end,
    plugins = function() return fakes.plugins end,
    place = function() return nil end,
    secret = function(ref) return ref end,
    signing_secret = function() return "seal" end,
  }
end


local function idem_fake(fakes)
  return {
    parse = idem.parse,
    fingerprint = idem.fingerprint,
    claim = function(scope, key, print_)
      local id = scope .. "|" .. key
      local row = fakes.idem[id]
      if not row then
        fakes.idem[id] = { print = print_, claim = 1 }
        return { outcome = "run", claim = 1, resumed = false }
      elseif row.print ~= print_ then
        return { outcome = "mismatch" }
      elseif not row.status then
        return { outcome = "busy", retry_after_ms = 1500 }
      end
      return { outcome = "replay", status = row.status, headers = row.headers, body = row.body }
    end,
    finish = function(_, scope, key, _, status, headers, body)
      local row = fakes.idem[scope .. "|" .. key]
      row.status, row.headers, row.body = status, headers, body
      return true
    end,
    forget = function(scope, key)
      fakes.idem[scope .. "|" .. key] = nil
      return true
    end,
  }
end


local function log_fake(fakes)
  local function at(level)
    return function(event, fields)
      fakes.log[#fakes.log + 1] = { level = level, event = event, fields = fields }
    end
  end
  return { info = at("info"), warn = at("warn"), error = at("error") }
end


local function metrics_fake(fakes)
  local function note(name, labels, value)
    fakes.metrics[#fakes.metrics + 1] = { name = name, labels = labels, value = value }
  end
  return { add = note, set = note, observe = note }
end


local function redis_fake(fakes)
  return {
    publish = function(channel, text)
      if fakes.redis_down then return nil, fakes.err("conn_lost") end
      fakes.published[#fakes.published + 1] = { channel = channel, text = text }
      return 1
    end,
    call = function() return nil, fakes.err("conn_lost") end,
    subscribe = function(channel, fn)
      fakes.subscribed[channel] = fn
      return { close = function() fakes.subscribed[channel] = nil end }
    end,
  }
end


local function co_fake(fakes)
  return {
    turn_end = function(fn) fakes.turn[#fakes.turn + 1] = fn end,
    task = function(_, fn)
      fakes.turn[#fakes.turn + 1] = fn
      return { cancel = function() end }
    end,
    waiter = function()
      local waiter = {}
      function waiter:signal(value) self.value, self.done = value, true end
      function waiter:wait()
        if fakes.runs_turns then fakes.run_turn() end
        while not self.done do coroutine.yield("wait") end
        return self.value
      end
      return waiter
    end,
    spawn = function(fn, ...) fn(...) end,
    no_wait = function(fn, ...) return fn(...) end,
    enter = function() end, leave = function() end,
    traceparent = function() return nil end,
    closing = function() return fakes.closing == true end,
    time_left = function() return 30000 end,
    generation = function() return "g" end,
    process = function() return fakes.process or "web-0" end,
  }
end


local function bundle_fake(fakes)
  return {
    read = function(path) return fakes.files[path] end,
    load = function(path, env) return file.load(fakes.files[path], path, env) end,
    overrun = function() return nil end,
    list = function(prefix)
      local out = {}
      for path in pairs(fakes.files) do
        if path:sub(1, #prefix) == prefix then out[#out + 1] = path end
      end
      table.sort(out)
      return out
    end,
  }
end


local function stand_ins(fakes)
  return {
    ["till.prim.log"] = log_fake(fakes),
    ["till.prim.metrics"] = metrics_fake(fakes),
    ["till.prim.conf"] = conf_fake(fakes),
    ["till.prim.idem"] = idem_fake(fakes),
    ["till.prim.pages"] = { drop = function() fakes.dropped = (fakes.dropped or 0) + 1 end },
    ["till.prim.redis"] = redis_fake(fakes),
    ["till.prim.co"] = co_fake(fakes),
    ["till.prim.sql"] = { transaction = function(fn) return fn({}) end },
    ["till.prim.time"] = {
      now_ms = function() return fakes.now end,
      mono_ms = function() return fakes.now end,
      mono_us = function() return fakes.now * 1000 end,
    },
    ["till.prim.bundle"] = bundle_fake(fakes),
    ["till.prim.data"] = data,
  }
end


local function is_real(name)
  return SHARED[name] or name:find("^till%.prim%.") or not name:find("^till%.")
end


function prim.world(over)
  local loaded, env = {}, nil

  local function fresh(name)
    if over[name] ~= nil then return over[name] end
    if is_real(name) then return require(name) end
    if loaded[name] == nil then
      local chunk, why = bundle.load("lua/" .. name:gsub("%.", "/") .. ".lua", env)
      if not chunk then error(why, 2) end
      loaded[name] = chunk(name) or true
    end
    return loaded[name]
  end

  env = setmetatable({ require = fresh }, { __index = _G, __newindex = _G })
  return fresh
end


function prim.with(extra, fn)
  local fakes = { log = {}, metrics = {}, published = {}, subscribed = {}, turn = {}, idem = {},
    conf = { ["payments.breaker_window_ms"] = 60000, ["payments.breaker_min_calls"] = 20,
      ["payments.breaker_failure_percent"] = 50, ["payments.breaker_cooldown_ms"] = 30000,
      ["payments.breaker_probes"] = 3, ["payments.breaker_dry_run"] = false,
      ["payments.bulkhead"] = 256, ["payments.retry_attempts"] = 3,
      ["payments.retry_base_ms"] = 100, ["payments.retry_cap_ms"] = 1000,
      ["payments.retry_total_ms"] = 2000, ["idem.lease_ms"] = 30000,
      ["shop.name"] = "Tea & Co", ["shop.currency"] = "GBP", ["shop.locale"] = "en" },
    plugins = {}, files = {}, now = 1000000 }
  fakes.run_turn = function()
    local todo = fakes.turn
    fakes.turn = {}
    for _, run in ipairs(todo) do run() end
  end
  fakes.err = function(code) return require("till.util.err").new(code, "asked for by the spec") end
  local over = stand_ins(fakes)
  for name, module in pairs(extra) do over[name] = module end
  fn(fakes, prim.world(over))
end


return prim
