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
--
-- Each `with` begins with an empty shop: never run it over one that somebody needs.
local t = require "till.test"
local json = require "till.prim.json"
local prim = require "tests.support.prim"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local live = {}


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
  t.empty_shop()
  local clock = { skip_ms = 0 }
  local fresh = prim.world { ["till.prim.time"] = clock_of(clock) }
  local shop = { sql = sql, clock = clock, require = fresh }
  requests(shop, fresh "till.main")
  fn(shop)
end


-- A test over it: t.it("...", live.test(function(shop) ... end)).
function live.test(fn)
  return function() live.with(fn) end
end


return live
