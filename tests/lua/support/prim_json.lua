-- A small JSON for specs that run without the core: sorted keys, null and list marks as the real
-- one has. It is lenient where the real one is strict; what is refused is tested with the core.
local json = { null = setmetatable({}, { __tostring = function() return "null" end }),
  array_mt = {} }


function json.array(t)
  return setmetatable(t, json.array_mt)
end


local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }


local function quoted(s)
  return '"' .. s:gsub('[%c"\\]', function(c)
    return ESCAPES[c] or ("\\u%04x"):format(c:byte())
  end) .. '"'
end


local encode


local function encode_table(t)
  local out = {}
  if getmetatable(t) == json.array_mt or t[1] ~= nil then
    for i, v in ipairs(t) do out[i] = encode(v) end
    return "[" .. table.concat(out, ",") .. "]"
  end
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  for i, k in ipairs(keys) do out[i] = quoted(k) .. ":" .. encode(t[k]) end
  return "{" .. table.concat(out, ",") .. "}"
end


function encode(v)
  if v == json.null then return "null" end
  if type(v) == "table" then return encode_table(v) end
  if type(v) == "string" then return quoted(v) end
  if type(v) == "number" then return ("%.17g"):format(v) end
  if type(v) == "boolean" then return tostring(v) end
  error("cannot be JSON: " .. type(v))
end

json.encode = encode


local value_at
local PLAIN = { n = "\n", r = "\r", t = "\t", b = "\b", f = "\f" }


local function string_at(s, i)
  local out = {}
  while true do
    local plain, stop = s:match('^([^"\\]*)(["\\])', i)
    if not plain then error({ at = i }) end
    out[#out + 1] = plain
    i = i + #plain + 1
    if stop == '"' then return table.concat(out), i end
    local c = s:sub(i, i)
    if c == "u" then
      out[#out + 1] = string.char(tonumber(s:sub(i + 1, i + 4), 16) % 256)
      i = i + 5
    else
      out[#out + 1] = PLAIN[c] or c
      i = i + 1
    end
  end
end


local function skip(s, i)
  return s:match("^%s*()", i)
end


local function members_at(s, i, close, add)
  i = skip(s, i)
  if s:sub(i, i) == close then return i + 1 end
  while true do
    i = skip(s, add(i))
    local c = s:sub(i, i)
    if c == close then return i + 1 end
    if c ~= "," then error({ at = i }) end
    i = skip(s, i + 1)
  end
end


local function object_at(s, i)
  local out = {}
  return out, members_at(s, i, "}", function(at)
    if s:sub(at, at) ~= '"' then error({ at = at }) end
    local key, after = string_at(s, at + 1)
    after = skip(s, after)
    if s:sub(after, after) ~= ":" then error({ at = after }) end
    out[key], after = value_at(s, after + 1)
    return after
  end)
end


local function array_at(s, i)
  local out = json.array({})
  return out, members_at(s, i, "]", function(at)
    local after
    out[#out + 1], after = value_at(s, at)
    return after
  end)
end


local WORDS = { ["true"] = true, ["false"] = false, null = json.null }


function value_at(s, i)
  i = skip(s, i)
  local c = s:sub(i, i)
  if c == "{" then return object_at(s, i + 1) end
  if c == "[" then return array_at(s, i + 1) end
  if c == '"' then return string_at(s, i + 1) end
  local word = s:match("^%a+", i)
  if word and WORDS[word] ~= nil then return WORDS[word], i + #word end
  local number = s:match("^-?%d[%d.eE+-]*", i)
  if number then return tonumber(number), i + #number end
  error({ at = i })
end


function json.decode(s)
  local good, value, after = pcall(value_at, s, 1)
  if good and skip(s, after) == #s + 1 then return value end
  local at = good and after or type(value) == "table" and value.at or 1
  return nil, { code = "malformed_json", message = "not JSON", at = at - 1 }
end


return json
