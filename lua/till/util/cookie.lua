-- till/util/cookie - the value of one cookie in a Cookie header (RFC 6265, 5.4).
--
--   get(header, name)  -> text | nil   without its quotes; the first of that name, and only if it
--                                      is made of cookie-octets
--
-- Anybody may send 32 KB of it, before he is known: each byte is looked at once or twice. A pattern
-- that is lazy before blanks would take a time that grows with their square.
local text = require "till.util.text"

local cookie = {}


function cookie.get(header, name)
  local wanted, at = name .. "=", 1
  while at <= #header do
    local stop = header:find(";", at, true) or #header + 1
    local pair = text.trim(header, at, stop - 1)
    if pair:sub(1, #wanted) == wanted then
      local value = text.trim(pair, #wanted + 1)
      value = value:match('^"(.*)"$') or value
      return not value:find("[%c ,\"\\\128-\255]") and value or nil
    end
    at = stop + 1
  end
end


return cookie
