-- support/prim - stand-ins for till.prim.* and a clean set of modules, for specs of what is above.
--
--   local prim = dofile("tests/lua/support/prim.lua")
--   prim.with({ ["till.store.keys"] = {...} }, function(fakes) ... end)
--
-- Within `with` every till.* module is loaded afresh over the stand-ins (and over `extra`);
-- afterwards all is as before. The stand-ins remember: fakes.log, fakes.metrics, fakes.published.
local json = dofile("tests/lua/support/prim_json.lua")

local prim = {}

local BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


local function base64url(s)
  local out = {}
  for i = 1, #s, 3 do
    local a, b, c = s:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for j = 0, b and (c and 3 or 2) or 1 do
      local at = math.floor(n / 64 ^ (3 - j)) % 64
      out[#out + 1] = BASE64:sub(at + 1, at + 1)
    end
  end
  return table.concat(out)
end


local function base64url_decode(text)
  local out, n, bits = {}, 0, 0
  for c in text:gmatch(".") do
    local at = BASE64:find(c, 1, true)
    if not at then return nil end
    n, bits = n * 64 + at - 1, bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[#out + 1] = string.char(math.floor(n / 2 ^ bits))
      n = n % 2 ^ bits
    end
  end
  return table.concat(out)
end


-- 32 bytes that depend on every byte; no more than that is asked of a digest here.
local function digest(s)
  local out, h = {}, 5381
  for round = 1, 32 do
    for i = 1, #s do h = (h * 33 + s:byte(i) + round) % 2 ^ 31 end
    out[round] = string.char(h % 256)
  end
  return table.concat(out)
end


local STATUS = {}


-- The table of the statuses is read where it stands, so that it cannot be another one here.
local function read_statuses()
  local file = assert(io.open("core/base/status.h"))
  local row = 'row%([%u_]+,%s*"([%l_]+)",%s*(%l+),%s*(%d+),%s*"([^"]*)"%)'
  for code, retry, http, title in file:read("*a"):gmatch(row) do
    STATUS[code] = { retryable = retry == "true", http = tonumber(http), title = title }
  end
  file:close()
end

read_statuses()


local function conf_fake(fakes)
  return {
    get = function(name) return fakes.conf[name] end,
    plugins = function() return fakes.plugins end,
    secret = function(ref) return ref end,
    signing_secret = function() return "seal" end,
  }
end


local function idem_fake(fakes)
  return {
    parse = function(header)
      if #header < 1 or #header > 255 or header:find("[^\33-\126]") then return nil end
      return header:match('^"(.*)"$') or header
    end,
    fingerprint = function(method, path, body) return digest(method .. path .. body) end,
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
    traceparent = function() return nil end,
    closing = function() return false end,
    time_left = function() return 30000 end,
    generation = function() return "g" end,
    process = function() return "web-0" end,
  }
end


local function modules(fakes)
  local ulids = 0
  return {
    ["till.c.status"] = { table = STATUS },
    ["till.prim.json"] = json,
    ["till.prim.log"] = log_fake(fakes),
    ["till.prim.metrics"] = metrics_fake(fakes),
    ["till.prim.conf"] = conf_fake(fakes),
    ["till.prim.idem"] = idem_fake(fakes),
    ["till.prim.redis"] = redis_fake(fakes),
    ["till.prim.co"] = co_fake(fakes),
    ["till.prim.status"] = { table = STATUS },
    ["till.prim.sql"] = { transaction = function(fn) return fn({}) end },
    ["till.prim.time"] = {
      now_ms = function() return fakes.now end,
      mono_ms = function() return fakes.now end,
      mono_us = function() return fakes.now * 1000 end,
    },
    ["till.prim.crypto"] = {
      sha256 = digest,
      hmac_sha256 = function(key, s) return digest(key .. "\0" .. s) end,
      random = function(n) return ("r"):rep(n) end,
      hex = function(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end,
      base64url = base64url, base64url_decode = base64url_decode,
      equal = function(a, b) return a == b end,
    },
    ["till.prim.ulid"] = {
      new = function()
        ulids = ulids + 1
        return ("\0"):rep(15) .. string.char(ulids)
      end,
    },
    ["till.prim.bundle"] = {
      read = function(path) return fakes.files[path] end,
      load = function(path, env)
        local chunk, why = loadstring(fakes.files[path], "@" .. path)
        return chunk and setfenv(chunk, env), why
      end,
      list = function(prefix)
        local out = {}
        for path in pairs(fakes.files) do
          if path:sub(1, #prefix) == prefix then out[#out + 1] = path end
        end
        table.sort(out)
        return out
      end,
    },
    ["till.prim.data"] = {
      parse = function(text)
        local chunk, why = loadstring(text:find("^%s*return") and text or "return " .. text)
        if not chunk then return nil, why end
        return setfenv(chunk, {})()
      end,
    },
  }
end


local function is_ours(name)
  return name:find("^till%.") ~= nil and name ~= "till.test" and name ~= "till.test.diff"
end


local function put_aside()
  local loaded = {}
  for name, module in pairs(package.loaded) do
    if is_ours(name) then loaded[name] = module end
  end
  for name in pairs(loaded) do package.loaded[name] = nil end
  return loaded
end


function prim.with(extra, fn)
  local fakes = { log = {}, metrics = {}, published = {}, subscribed = {}, turn = {}, idem = {},
    conf = { ["idem.lease_ms"] = 30000,
      ["shop.name"] = "Tea & Co", ["shop.currency"] = "GBP", ["shop.locale"] = "en" },
    plugins = {}, files = {}, now = 1000000 }
  fakes.run_turn = function()
    local todo = fakes.turn
    fakes.turn = {}
    for _, run in ipairs(todo) do run() end
  end
  fakes.err = function(code) return require("till.util.err").new(code, "asked for by the spec") end
  local loaded = put_aside()
  for name, module in pairs(modules(fakes)) do package.loaded[name] = module end
  for name, module in pairs(extra) do package.loaded[name] = module end
  local good, failure = pcall(fn, fakes)
  put_aside()
  for name, module in pairs(loaded) do package.loaded[name] = module end
  if not good then error(failure, 0) end
end


return prim
