-- json.lua - reads JSON text for specs, until the server's own reader serves here too.
--
--   json.decode(text) -> value; null is nil, an empty array an empty table. Raises on bad text.
--   json.read(path) -> the file's value
local json = {}

local ESCAPES = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local read_value


local function fail(text, at, what)
  local _, line = text:sub(1, at):gsub("\n", "")
  error("json: " .. what .. " on line " .. line + 1, 0)
end


local function skip(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end


local function utf8_of(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then
    return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64)
  end
  return string.char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64,
    0x80 + code % 64)
end


local function unescape(escape, digits)
  if escape == "u" then return utf8_of(tonumber(digits, 16)) end
  return ESCAPES[escape] .. digits
end


local function read_string(text, at)
  local from = at + 1
  at = from
  while true do
    local stop = text:find('["\\]', at) or fail(text, from, "unfinished string")
    if text:byte(stop) == 34 then
      local raw = text:sub(from, stop - 1)
      return raw:gsub("\\(.)(%x?%x?%x?%x?)", unescape), stop + 1
    end
    at = stop + 2
  end
end


local function read_array(text, at)
  local out, n = {}, 0
  at = skip(text, at + 1)
  if text:sub(at, at) == "]" then return out, at + 1 end
  while true do
    n = n + 1
    out[n], at = read_value(text, at)
    at = skip(text, at)
    local mark = text:sub(at, at)
    if mark == "]" then return out, at + 1 end
    if mark ~= "," then fail(text, at, "expected , or ]") end
    at = skip(text, at + 1)
  end
end


local function read_object(text, at)
  local out = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == "}" then return out, at + 1 end
  while true do
    if text:sub(at, at) ~= '"' then fail(text, at, "expected a name") end
    local key
    key, at = read_string(text, at)
    at = skip(text, at)
    if text:sub(at, at) ~= ":" then fail(text, at, "expected :") end
    out[key], at = read_value(text, skip(text, at + 1))
    at = skip(text, at)
    local mark = text:sub(at, at)
    if mark == "}" then return out, at + 1 end
    if mark ~= "," then fail(text, at, "expected , or }") end
    at = skip(text, at + 1)
  end
end


local WORDS = { ["true"] = true, ["false"] = false }


function read_value(text, at)
  local mark = text:sub(at, at)
  if mark == "{" then return read_object(text, at) end
  if mark == "[" then return read_array(text, at) end
  if mark == '"' then return read_string(text, at) end
  local word = text:match("^%a+", at)
  if word == "null" then return nil, at + 4 end
  if word and WORDS[word] ~= nil then return WORDS[word], at + #word end
  local digits = text:match("^-?%d[%d.eE+-]*", at)
  local value = digits and tonumber(digits) or fail(text, at, "expected a value")
  return value, at + #digits
end


function json.decode(text)
  local value, at = read_value(text, skip(text, 1))
  if skip(text, at) <= #text then fail(text, at, "something after the value") end
  return value
end


function json.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return json.decode(text)
end


return json
