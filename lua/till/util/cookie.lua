-- till/util/cookie - the value of one cookie in a Cookie header (RFC 6265, 5.4).
--
--   get(header, name)  -> text | nil   without its quotes; the first of that name, and only if it
--                                      is made of cookie-octets
local cookie = {}


function cookie.get(header, name)
  for pair in header:gmatch("[^;]+") do
    local key, value = pair:match("^[ \t]*([^=]-)=[ \t]*(.-)[ \t]*$")
    if key == name then
      value = value:match('^"(.*)"$') or value
      return not value:find("[%c ,\"\\\128-\255]") and value or nil
    end
  end
end


return cookie
