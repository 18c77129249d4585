-- till/util/multipart - forms with files, as browsers send them (RFC 7578 over RFC 2046).
--
--   parse(content_type, body) -> { name = { value =, filename =, type = } } | nil, sentence
--
-- Stricter than RFC 2046: nothing stands before the first boundary, a name comes once, and a part
-- is not encoded (RFC 7578, 4.7). Names, file names and fields without one are text; a file is
-- bytes.
local text = require "till.util.text"

local multipart = {}

local MAX_PARTS = 50
local MAX_HEAD = 4096
-- RFC 2046, 5.1.1: bchars
local BOUNDARY = "^[%w'()+_,%-./:=? ]*[%w'()+_,%-./:=?]$"


local function boundary_of(content_type)
  local kind, rest = content_type:match("^%s*([^;%s]+)%s*(.*)$")
  if not kind or kind:lower() ~= "multipart/form-data" then return nil end
  local name, value = rest:match("^;%s*([%a]+)=(.*)$")
  if not name or name:lower() ~= "boundary" then return nil end
  value = text.trim(value)
  value = value:match('^"(.*)"$') or value
  return #value <= 70 and value:find(BOUNDARY) and value or nil
end


-- Browsers write a quote and line ends inside of a name as %22, %0D and %0A.
local function unquoted(value)
  return (value:gsub("%%22", '"'):gsub("%%0[dD]", "\r"):gsub("%%0[aA]", "\n"))
end


local function disposition(value)
  local kind, rest = value:match("^%s*([%w-]+)%s*(.*)$")
  if not kind or kind:lower() ~= "form-data" then return nil end
  local found = {}
  while rest ~= "" do
    local key, quoted, after = rest:match('^;%s*([%w*-]+)="([^"]*)"%s*(.*)$')
    if not key or found[key] then return nil end
    found[key], rest = unquoted(quoted), after
  end
  return found
end


local function headers_of(head)
  local out = {}
  -- linear: the text ends with a line end
  for line in (head .. "\r\n"):gmatch("(.-)\r\n") do
    local name, value = line:match("^([%w-]+):([^%z\r\n]*)$")
    if not name or out[name:lower()] then return nil end
    out[name:lower()] = text.trim(value)
  end
  return out
end


-- The part whose head and content are body:sub(from, to).
local function part_of(body, from, to)
  local head_end, content = body:find("\r\n\r\n", from, true)
  if not head_end or content > to or head_end - from > MAX_HEAD then
    return nil, "a part has no end of its headers, or they are over 4096 bytes"
  end
  local headers = headers_of(body:sub(from, head_end - 1))
  local named = headers and disposition(headers["content-disposition"] or "")
  if not named or not named.name or named.name == "" then
    return nil, 'a part needs Content-Disposition: form-data; name="..."'
  end
  if headers["content-transfer-encoding"] then
    return nil, "a part must be sent as it is, without Content-Transfer-Encoding"
  end
  local part = { name = named.name, filename = named.filename, value = body:sub(content + 1, to),
    type = headers["content-type"] }
  if not text.clean(part.name) or not text.clean(part.filename or "")
    or not part.filename and not text.clean(part.value) then
    return nil, "names and fields must be UTF-8 without NUL"
  end
  return part
end


-- What follows a boundary: "\r\n" and a part, or "--" and the end.
local function after_boundary(body, at)
  if body:find("^%-%-", at) then
    return body:find("^%-%-[ \t]*\r?\n?$", at) and "end" or nil
  end
  local _, line_end = body:find("^[ \t]*\r\n", at)
  return line_end
end


function multipart.parse(content_type, body)
  local boundary = boundary_of(content_type)
  if not boundary then return nil, "Content-Type must be multipart/form-data; boundary=..." end
  local out, count = {}, 0
  local opening, delimiter = "--" .. boundary, "\r\n--" .. boundary
  if body:sub(1, #opening) ~= opening then return nil, "the body must begin with its boundary" end
  local at = after_boundary(body, #opening + 1)
  while type(at) == "number" do
    count = count + 1
    if count > MAX_PARTS then return nil, "there are more than 50 parts" end
    local stop, next_at = body:find(delimiter, at + 1, true)
    if not stop then return nil, "the last boundary is missing: the body is cut off" end
    local part, why = part_of(body, at + 1, stop - 1)
    if not part then return nil, why end
    if out[part.name] then return nil, "a name comes twice" end
    out[part.name] = part
    at = after_boundary(body, next_at + 1)
  end
  if at ~= "end" then return nil, "a boundary is followed by something else than a line end" end
  return out
end


return multipart
