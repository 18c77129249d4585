-- till/util/url - percent-encoding and query strings (RFC 3986, the form rules of URL Standard).
--
--   decode(s)   -> text | nil, sentence   strict: every % has two hex digits, the result is UTF-8
--                                         without NUL; "+" stays a plus
--   encode(s)   -> everything but unreserved characters escaped
--   query(s)    -> { name = { values in order } } | nil, sentence   "+" is a space here
--   segments(path) -> { decoded segments } | nil, sentence           "/a//b" has an empty one
--   build(params)  -> "a=1&b=2", names sorted
local text = require "till.util.text"

local url = {}

local MAX_PARAMS = 100


local function unescape(s)
  if s:find("%%%x?%X") or s:find("%%%x?$") then
    return nil, "a % must be followed by two hexadecimal digits"
  end
  local plain = s:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return plain
end


function url.decode(s)
  local plain = s
  if s:find("%", 1, true) then
    local why
    plain, why = unescape(s)
    if not plain then return nil, why end
  end
  if not text.valid(plain) then return nil, "must be UTF-8" end
  if plain:find("%z") then return nil, "must not contain NUL" end
  return plain
end


function url.encode(s)
  return (tostring(s):gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end


local function add_pair(out, pair)
  local name, value = pair:match("^([^=]*)=?(.*)$")
  local why
  name, why = url.decode((name:gsub("+", " ")))
  if not name then return why end
  value, why = url.decode((value:gsub("+", " ")))
  if not value then return ("%s: %s"):format(name, why) end
  local list = out[name]
  if list then list[#list + 1] = value else out[name] = { value } end
end


function url.query(s)
  local out, count = {}, 0
  if not s or s == "" then return out end
  for pair in s:gmatch("[^&]+") do
    count = count + 1
    if count > MAX_PARAMS then return nil, "there are more than 100 parameters" end
    local why = add_pair(out, pair)
    if why then return nil, why end
  end
  return out
end


function url.segments(path)
  local out, n = {}, 0
  local is_plain = not path:find("%", 1, true) and text.clean(path)
  local at = path:find("/", 1, true)
  while at do
    local after = path:find("/", at + 1, true)
    local plain, why = path:sub(at + 1, after and after - 1), nil
    if not is_plain then plain, why = url.decode(plain) end
    if not plain then return nil, why end
    n = n + 1
    out[n], at = plain, after
  end
  return out
end


function url.build(params)
  local names, out = {}, {}
  for name in pairs(params) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    out[#out + 1] = url.encode(name) .. "=" .. url.encode(params[name])
  end
  return table.concat(out, "&")
end


return url
