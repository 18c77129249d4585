-- The handler of bench_handler.c, in Lua: what arrived, as JSON.
local json = require "till.prim.json"

local main = {}


function main.http(req)
  local body = json.encode { agent = req.headers["user-agent"], path = req.path,
    request_id = req.request_id }
  return 200, { ["content-type"] = "application/json", etag = '"1"' }, body, "/echo"
end


return main
