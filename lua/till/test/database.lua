-- till/test/database - an empty shop for a spec; reached as t.empty_shop.
--
--   empty_shop()   takes everything out of the database and Redis; skips the test where they are
--                  not those of a `moontill dev` that was named by --var DIR
local conf = require "till.prim.conf"
local file = require "till.prim.file"
local json = require "till.prim.json"
local redis = require "till.prim.redis"
local sql = require "till.prim.sql"
local term = require "till.prim.term"
local test = require "till.test"
local time = require "till.prim.time"

local kit = {}

local KEEP = { schema_migrations = true, locations = true }


-- Neither a shop that sells nor the one in ./var that somebody plays with is ever emptied.
local function may_empty()
  local dir = term.env("MOONTILL_VAR")
  local dev = dir ~= "var" and file.read(dir .. "/dev.json")
  dev = dev and json.decode(dev)
  return dev and dev.mysql_socket == conf.get("mysql.socket")
    and dev.redis_socket == conf.get("redis.socket")
end


local function tables()
  return assert(sql.query("SELECT table_name AS name FROM information_schema.tables"
    .. " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"))
end


-- In one transaction, for the switch belongs to a connection. TRUNCATE would cost a file each.
local function empty_database()
  local list = tables()
  assert(sql.transaction(function(tx)
    assert(tx:exec("SET FOREIGN_KEY_CHECKS = 0"))
    for _, row in ipairs(list) do
      if not KEEP[row.name] then assert(tx:exec("DELETE FROM `" .. row.name .. "`")) end
    end
    assert(tx:exec("INSERT INTO generation_live (id, generation, sequence, change_id, since)"
      .. " VALUES (1, REPEAT(x'00', 32), 0, REPEAT(x'00', 16), UTC_TIMESTAMP(3))"))
    return tx:exec("SET FOREIGN_KEY_CHECKS = 1")
  end))
end


-- It connects in the background; commands fail at once until then.
local function flush_redis()
  for _ = 1, 500 do
    if redis.call("FLUSHALL") then return end
    time.sleep(10)
  end
  error("Redis does not answer")
end


function kit.empty_shop()
  if not may_empty() then
    test.skip("no database: give the --var DIR of a `moontill dev --no-demo` that may be emptied")
  end
  empty_database()
  flush_redis()
end


return kit
