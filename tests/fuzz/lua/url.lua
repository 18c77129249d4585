-- Percent-encoding and queries: what is read is text, and what we write is read as the same.
local text = require "till.util.text"
local url = require "till.util.url"

local main = {}


local function must_be_text(s)
  assert(text.clean(s), "not text")
  assert(url.decode(url.encode(s)) == s, "encode and decode disagree")
end


local function check_query(raw)
  local found, why = url.query(raw)
  if not found then return assert(why ~= "" and text.clean(why), "no sentence") end
  local flat = {}
  for name, values in pairs(found) do
    must_be_text(name)
    for _, value in ipairs(values) do must_be_text(value) end
    flat[name] = values[1]
  end
  local again = assert(url.query(url.build(flat)))
  for name, value in pairs(flat) do
    assert(name == "" and value == "" or again[name][1] == value, "build and query disagree")
  end
end


function main.http(req)
  local raw = req.body
  local plain, why = url.decode(raw)
  if plain then must_be_text(plain) else assert(why ~= "" and text.clean(why), "no sentence") end
  check_query(raw)
  for _, segment in ipairs(url.segments("/" .. raw) or {}) do must_be_text(segment) end
  return 200, {}, "", "/"
end


return main
