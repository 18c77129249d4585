-- A Cookie header: the value found is one that stands in it under that name, and nothing of the
-- other pairs; a header that we would write is read.
local cookie = require "till.util.cookie"

local main = {}


local function plain(raw)
  return #raw <= 200 and not raw:find("[^%w_-]") and raw ~= ""
end


function main.http(req)
  local raw = req.body
  local value = cookie.get(raw, "till_session")
  if value then
    assert(#value <= #raw and raw:find("till_session=", 1, true), "made up")
    assert(not value:find("[%c ;,\"\\\128-\255]"), "no cookie-octet")
  end
  assert(cookie.get(raw, "till_sessio") ~= value or not value or raw:find("till_sessio=", 1, true),
    "a name that is only the beginning of it")
  if plain(raw) then
    assert(cookie.get("a=b; till_session=" .. raw .. "; c=d", "till_session") == raw)
    assert(cookie.get("a=b; till_session=\"" .. raw .. "\"", "till_session") == raw)
  end
  return 200, {}, "", "/"
end


return main
