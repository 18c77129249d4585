-- till/cli/doctor/redis - Redis is speed, never truth: little about it can be wrong.
local redis = require "till.prim.redis"
local time = require "till.prim.time"

local SLOW_MS = 5


local function info()
  local text, e = redis.call("INFO")
  if not text then return nil, e end
  local out = {}
  for name, value in text:gmatch("([%w_]+):([^\r\n]*)") do out[name] = value end
  return out
end


local function version(report, about)
  local major = tonumber((about.redis_version or ""):match("^(%d+)"))
  if not major or major < 6 then
    report.fail("redis.version", "Redis " .. tostring(about.redis_version), "Take 6.0 or later.")
  else
    report.ok("redis.version", "Redis " .. about.redis_version)
  end
end


local function memory(report, about)
  local policy, limit = about.maxmemory_policy or "?", tonumber(about.maxmemory) or 0
  local finding = ("maxmemory %.0f MB, %s"):format(limit / 1048576, policy)
  if limit == 0 then
    report.warn("redis.memory", "maxmemory is not set", "Set it (256mb is plenty) so that Redis"
      .. " cannot take the memory that database and workers need.")
  elseif policy:find("^allkeys") then
    report.warn("redis.memory", finding, "Set maxmemory-policy to noeviction or volatile-ttl: an"
      .. " evicted lock or counter is forgotten before its time.")
  else
    report.ok("redis.memory", finding)
  end
end


local function persistence(report, about)
  if about.rdb_last_bgsave_status == "err" then
    report.warn("redis.persistence", "its last save failed", "Give its folder room and rights, or"
      .. " turn saving off (save \"\"): nothing in it has to survive.")
  elseif about.loading == "1" then
    report.warn("redis.persistence", "it is still loading its data", "Wait: until then caches are"
      .. " cold.")
  else
    report.ok("redis.persistence", about.aof_enabled == "1" and "appendonly is on; not needed"
      or "nothing in it has to survive")
  end
end


local function latency(report)
  local best
  for _ = 1, 5 do
    local begun = time.mono_us()
    redis.call("PING")
    local ms = (time.mono_us() - begun) / 1000
    best = best and math.min(best, ms) or ms
  end
  if best > SLOW_MS then
    report.warn("redis.latency", ("PING takes %.1f ms"):format(best), "Put Redis near: each request"
      .. " that reads a session pays for it.")
  else
    report.ok("redis.latency", ("PING takes %.2f ms"):format(best))
  end
end


-- It connects in the background: the first command may come before that.
local function first_info()
  for _ = 1, 10 do
    local about, e = info()
    if about or e.code ~= "conn_lost" then return about, e end
    time.sleep(30)
  end
  return info()
end


local function examine(report)
  local about, e = first_info()
  if not about then
    local why = e.code == "conn_lost" and "there is no connection" or e.message
    report.fail("redis", "it cannot be used: " .. why, "Start it, and see redis.socket, redis.host,"
      .. " redis.port and redis.password. If it runs: one that cannot save refuses everybody"
      .. " (stop-writes-on-bgsave-error). The shop sells without it, but slower, and limits count"
      .. " by worker.")
    return
  end
  version(report, about)
  memory(report, about)
  persistence(report, about)
  latency(report)
end


return { examine }
