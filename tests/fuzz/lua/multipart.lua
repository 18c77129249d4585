-- Forms with files: the input is a body, with the boundary "x", and a content to be sent as well.
local multipart = require "till.util.multipart"
local text = require "till.util.text"

local main = {}

local TYPE = 'multipart/form-data; boundary=x'


local function check(parts, body)
  for name, part in pairs(parts) do
    assert(name ~= "" and text.clean(name) and part.name == name, "a name that is no text")
    assert(body:find(part.value, 1, true), "a value that was not sent")
    assert(part.filename and text.clean(part.filename) or text.clean(part.value),
      "a field that is no text")
    assert(not ("\r\n" .. part.value):find("\r\n--x", 1, true), "a value with the boundary in it")
  end
end


-- What RFC 7578 says of a sender, about `content`.
local function form(content)
  return '--x\r\nContent-Disposition: form-data; name="kind"\r\n\r\nproducts\r\n'
    .. '--x\r\nContent-Disposition: form-data; name="file"; filename="%22a%22.csv"\r\n'
    .. "Content-Type: text/csv\r\n\r\n" .. content .. "\r\n--x--\r\n"
end


function main.http(req)
  local raw = req.body
  local parts, why = multipart.parse(TYPE, raw)
  if parts then check(parts, raw) else assert(why ~= "" and text.clean(why), "no sentence") end
  multipart.parse("multipart/form-data; " .. raw, form("a"))
  if not ("\r\n" .. raw):find("\r\n--x", 1, true) then
    local sent = assert(multipart.parse(TYPE, form(raw)))
    assert(sent.file.value == raw and sent.file.filename == '"a".csv', "the file changed")
    assert(sent.kind.value == "products" and not sent.kind.filename, "the field changed")
  end
  return 200, {}, "", "/"
end


return main
