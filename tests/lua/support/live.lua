-- support/live - the shop over its own MariaDB and Redis: requests go to till.main in this very
-- process, and all that happens is real but the clock, which specs move on, and sleeping.
--
--   local live = require "tests.support.live"
--   t.it("...", live.test(function(shop) ... end))     skips where no database is configured
--   live.with(function(shop) ... end)                  the same inside of a test
--   shop.request(method, path, body, headers) -> status, decoded body, headers
--   shop.admin(...) shop.store(...)                    the same with a key of that kind
--   shop.sql, shop.require(module)
--   shop.clock.skip_ms     added to the time that is;  shop.clock.slept   the last sleep
--   live.empty()           takes everything out of the shop
--
-- Each `with` begins with an empty shop: never run it over one that somebody needs.
local t = require "till.test"
local json = require "till.prim.json"
local prim = require "tests.support.prim"
local redis = require "till.prim.redis"
local sql = require "till.prim.sql"
local time = require "till.prim.time"
local conf = require "till.prim.conf"

local live = {}

local KEEP = { schema_migrations = true, locations = true }


-- Without a socket the configuration names the machine's own database: nothing to be emptied.
function live.ready()
  return conf.get("mysql.socket") ~= ""
end


function live.skip_unless_ready()
  if not live.ready() then t.skip("no database: run with --var DIR of `moontill dev --no-demo`") end
end


local function tables()
  return assert(sql.query("SELECT table_name AS name FROM information_schema.tables"
    .. " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"))
end


-- In one transaction, for the switch belongs to a connection. DELETE, as TRUNCATE costs a file each.
function live.empty()
  local list = tables()
  assert(sql.transaction(function(tx)
    assert(tx:exec("SET FOREIGN_KEY_CHECKS = 0"))
    for _, row in ipairs(list) do
      if not KEEP[row.name] then assert(tx:exec("DELETE FROM `" .. row.name .. "`")) end
    end
    assert(tx:exec("SET FOREIGN_KEY_CHECKS = 1"))
    return true
  end))
  assert(redis.call("FLUSHALL"))
end


local function clock_of(clock)
  local out = {}
  for name, fn in pairs(time) do out[name] = fn end
  function out.now_ms() return time.now_ms() + clock.skip_ms end
  function out.sleep(ms)
    clock.slept = ms
    return time.sleep(0)
  end
  return out
end


local function requests(shop, main)
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


function live.with(fn)
  live.skip_unless_ready()
  live.empty()
  local clock = { skip_ms = 0 }
  local fresh = prim.world { ["till.prim.time"] = clock_of(clock) }
  local shop = { sql = sql, clock = clock, require = fresh }
  requests(shop, fresh "till.main")
  fn(shop)
end


function live.test(fn)
  return function() live.with(fn) end
end


return live
