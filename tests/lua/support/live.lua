-- support/live - the Lua side over a real MariaDB: requests go to till.main's router in this very
-- process, everything but the database is a stand-in.
--
--   local live = dofile("tests/lua/support/live.lua")
--   if live.ready() then live.with(function(shop) ... end) end
--   shop.request(method, path, body, headers) -> status, decoded body, headers
--   shop.admin(...) shop.store(...)             the same with a key of that kind
--   shop.sql, shop.fakes, shop.require(module)
--
-- MOONTILL_TEST_MYSQL names the socket of a server to use; without it one of our own is started
-- in a temporary directory and stopped at the end. The schema is made once, and emptied each time.
local mariadb = dofile("tests/lua/support/mariadb.lua")
local prim = dofile("tests/lua/support/prim.lua")
local ffi = require "ffi"

ffi.cdef [[
unsigned char *SHA256(const unsigned char *d, size_t n, unsigned char *md);
typedef struct { long sec, usec; } till_test_timeval;
int gettimeofday(till_test_timeval *, void *);
int usleep(unsigned int);
]]

local crypto = ffi.load("crypto")
local live = {}
local DATABASE = "moontill_spec"
local KEEP = { schema_migrations = true, locations = true }
local socket, folder


local function shell(command)
  local pipe = assert(io.popen(command .. " 2>&1; echo $?"))
  local out = pipe:read("*a")
  pipe:close()
  return out:match("(%d+)%s*$") == "0", out
end


local START = [[
set -e; chmod 755 %s; user=$(id -un); [ "$user" = root ] && { user=mysql; chown mysql %s; }
mariadb-install-db --no-defaults --user=$user --auth-root-authentication-method=normal \
  --datadir=%s/data --skip-test-db >/dev/null
mariadbd --no-defaults --user=$user --datadir=%s/data --socket=%s/s --skip-networking \
  --pid-file=%s/pid --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M \
  >%s/log 2>&1 </dev/null &
for i in $(seq 300); do
  mariadb-admin -u root -S %s/s ping >/dev/null 2>&1 && exit 0; sleep 0.1
done
exit 1]]


local function start()
  local pipe = io.popen("mktemp -d")
  folder = pipe:read("*l")
  pipe:close()
  local good, out = shell("(" .. START:gsub("%%s", folder) .. ")")
  if not good then error("MariaDB did not start: " .. out) end
  socket = folder .. "/s"
end


function live.ready()
  if socket then return true end
  socket = os.getenv("MOONTILL_TEST_MYSQL")
  if not socket then
    if not shell("command -v mariadbd") then return false end
    start()
  end
  return true
end


--- Stops what was started; called by the collector at the end of the process.
local guard = newproxy(true)
getmetatable(guard).__gc = function()
  if folder then shell("kill $(cat " .. folder .. "/pid); sleep 0.2; rm -rf " .. folder) end
end


local function now_ms()
  local tv = ffi.new("till_test_timeval")
  ffi.C.gettimeofday(tv, nil)
  return tonumber(tv.sec) * 1000 + math.floor(tonumber(tv.usec) / 1000)
end


local function random(n)
  local file = assert(io.open("/dev/urandom", "rb"))
  local out = file:read(n)
  file:close()
  return out
end


local function sha256(s)
  local out = ffi.new("unsigned char[32]")
  crypto.SHA256(s, #s, out)
  return ffi.string(out, 32)
end


local last_ms, count = 0, 0


local function ulid()
  local ms = now_ms()
  if ms == last_ms then count = count + 1 else last_ms, count = ms, 0 end
  local head = {}
  for i = 5, 0, -1 do head[#head + 1] = string.char(math.floor(ms / 256 ^ i) % 256) end
  return table.concat(head) .. string.char(math.floor(count / 256) % 256, count % 256) .. random(8)
end


local function outbox_over(sql, json)
  local outbox = {}
  function outbox.append(tx, events)
    for _, e in ipairs(events) do
      local payload = type(e.payload) == "string" and e.payload or json.encode(e.payload)
      local ok, why = tx:exec("INSERT INTO outbox (aggregate, type, payload) VALUES (?, ?, ?)",
        e.aggregate, e.type, payload)
      if not ok then return nil, why end
    end
    return true
  end
  function outbox.claim(max)
    local rows = assert(sql.query("SELECT id, aggregate, type, payload FROM outbox"
      .. " WHERE state = 'pending' ORDER BY id LIMIT ?", max))
    for _, row in ipairs(rows) do row.attempts, row.claim = 1, 1 end
    return rows
  end
  function outbox.done(event_id)
    return sql.exec("UPDATE outbox SET state = 'done' WHERE id = ?", event_id)
  end
  function outbox.retry(event_id, _, _, reason)
    return sql.exec("UPDATE outbox SET state = 'dead', last_error = ? WHERE id = ?", reason,
      event_id)
  end
  return outbox
end


local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end


local function list(pattern)
  local out, pipe = {}, io.popen("ls " .. pattern)
  for path in pipe:lines() do out[#out + 1] = path end
  pipe:close()
  return out
end


local function make_schema(sql)
  if sql.one("SELECT 1 AS yes FROM information_schema.tables WHERE table_schema = DATABASE()"
    .. " LIMIT 1") then return end
  for _, path in ipairs(list("sql/0*.sql")) do
    local text = read_file(path):gsub("%-%-[^\n]*\n", "\n")
    for statement in text:gmatch("(.-);%s*\n") do
      if statement:find("%S") then assert(sql.exec((statement:gsub("%?", "")))) end
    end
  end
end


local function empty(sql)
  assert(sql.exec("SET FOREIGN_KEY_CHECKS = 0"))
  for _, row in ipairs(assert(sql.query("SELECT table_name AS name FROM information_schema.tables"
    .. " WHERE table_schema = DATABASE()"))) do
    if not KEEP[row.name] then assert(sql.exec("TRUNCATE TABLE " .. row.name)) end
  end
  assert(sql.exec("SET FOREIGN_KEY_CHECKS = 1"))
end


local CONF = { ["cart.reservation_minutes"] = 15, ["cart.completion_claim_ms"] = 30000,
  ["cart.max_lines"] = 200, ["cart.max_quantity"] = 10000, ["auth.session_hours"] = 12,
  ["auth.max_attempts"] = 10, ["jobs.batch"] = 50, ["jobs.lease_ms"] = 30000,
  ["jobs.poll_ms"] = 1000, ["jobs.max_attempts"] = 10, ["shop.country"] = "GB",
  ["cache.ttl_ms"] = 0, ["cache.max_entries"] = 0 }


local function modules(sql, fakes_of)
  local json = dofile("tests/lua/support/prim_json.lua")
  return {
    ["till.prim.sql"] = sql, ["till.prim.outbox"] = outbox_over(sql, json),
    ["till.prim.ulid"] = { new = ulid },
    ["till.prim.data"] = {
      parse = function(text)
        local chunk, why = loadstring(text)
        if not chunk then return nil, why end
        return setfenv(chunk, {})()
      end,
    },
    ["till.prim.time"] = {
      now_ms = function() return now_ms() + (fakes_of().skip_ms or 0) end, mono_ms = now_ms,
      mono_us = function() return now_ms() * 1000 end,
      sleep = function(ms) fakes_of().slept = ms end,
      rfc3339 = function(ms) return require("till.util.clock").format(ms) end,
      parse = function(text) return require("till.util.clock").parse(text) end,
      sql = function(ms)
        return (require("till.util.clock").format(ms):gsub("T", " "):gsub("Z", ""))
      end,
    },
  }
end


local function requests(shop, main, json)
  local keys = {}
  function shop.request(method, path, body, headers)
    local all = {}
    for name, value in pairs(headers or {}) do all[name] = value end
    if body then all["content-type"] = "application/json" end
    local at, query = path:match("^([^?]*)%??(.*)$")
    local status, out_headers, text = main.http { method = method, path = at, query = query,
      authority = "shop.test", peer = "192.0.2.1", headers = all, request_id = "r",
      trace_id = "t", traceparent = "", tls = true, body = body and json.encode(body) or "" }
    return status, text ~= "" and json.decode(text) or nil, out_headers
  end
  for kind, name in pairs { publishable = "store", secret = "admin" } do
    local _, text = shop.require("till.store.keys").create { kind = kind, name = name,
      roles = kind == "secret" and { "owner" } or {} }
    keys[name] = text
    shop[name] = function(method, path, body, headers)
      local all = { authorization = "Bearer " .. keys[name] }
      for header, value in pairs(headers or {}) do all[header] = value end
      return shop.request(method, path, body, all)
    end
  end
end


function live.with(options, fn)
  if not fn then options, fn = {}, options end
  live.ready()
  local admin = mariadb.connect(socket, nil)
  admin.exec("CREATE DATABASE IF NOT EXISTS " .. DATABASE .. " CHARACTER SET utf8mb4")
  admin.close()
  local sql, shop = mariadb.connect(socket, DATABASE), {}
  prim.with(modules(sql, function() return shop.fakes end), function(fakes)
    shop.fakes, shop.sql, shop.require, fakes.runs_turns = fakes, sql, require, true
    make_schema(sql)
    empty(sql)
    for name, value in pairs(CONF) do fakes.conf[name] = value end
    fakes.plugins = options.plugins or {}
    for _, path in ipairs(list("plugins/*/*.lua")) do fakes.files[path] = read_file(path) end
    local real = package.loaded["till.prim.crypto"]
    real.random, real.sha256 = random, sha256
    real.scrypt = function(password, salt) return sha256(password .. salt) end
    fakes.open_redis = true
    requests(shop, require("till.main"), package.loaded["till.prim.json"])
    fn(shop)
  end)
  sql.close()
end


return live
