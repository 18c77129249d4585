local t = require "till.test"
local multipart = require "till.util.multipart"

local TYPE = "multipart/form-data; boundary=x"


local function part(head, content)
  return "--x\r\n" .. head .. "\r\n\r\n" .. content .. "\r\n"
end


local function field(name, content)
  return part('Content-Disposition: form-data; name="' .. name .. '"', content)
end


t.describe("a form with files", function()
  t.it("is read as a browser sends it", function()
    local body = field("kind", "tea") .. part('Content-Disposition: form-data; name="file"; '
      .. 'filename="%22a%22.csv"\r\nContent-Type: text/csv', "a,b\r\n--y\r\n\0\255") .. "--x--\r\n"
    local parts = assert(multipart.parse('Multipart/Form-Data; boundary="x"', body))
    t.same(parts.kind, { name = "kind", value = "tea" })
    t.same(parts.file, { name = "file", filename = '"a".csv', type = "text/csv",
      value = "a,b\r\n--y\r\n\0\255" })
    t.equal(multipart.parse(TYPE, field("a", "") .. "--x--").a.value, "")
  end)

  local bad = {
    ["no form"] = { "application/json", field("a", "b") .. "--x--" },
    ["no boundary named"] = { "multipart/form-data", field("a", "b") .. "--x--" },
    ["a boundary too long"] = { "multipart/form-data; boundary=" .. ("x"):rep(71), "" },
    ["another boundary"] = { "multipart/form-data; boundary=y", field("a", "b") .. "--x--" },
    ["nothing in it"] = { TYPE, "" },
    ["something before it"] = { TYPE, "hello\r\n" .. field("a", "b") .. "--x--" },
    ["cut off in a part"] = { TYPE, '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb' },
    ["cut off after a boundary"] = { TYPE, field("a", "b") .. "--x" },
    ["something after the end"] = { TYPE, field("a", "b") .. "--x--\r\nmore" },
    ["no headers"] = { TYPE, part("", "b") .. "--x--" },
    ["no name"] = { TYPE, part("Content-Disposition: form-data", "b") .. "--x--" },
    ["a name twice in one part"] = { TYPE,
      part('Content-Disposition: form-data; name="a"; name="b"', "b") .. "--x--" },
    ["a header twice"] = { TYPE, part('Content-Disposition: form-data; name="a"\r\n'
      .. 'Content-Disposition: form-data; name="b"', "b") .. "--x--" },
    ["a part twice"] = { TYPE, field("a", "b") .. field("a", "c") .. "--x--" },
    ["an encoded part"] = { TYPE, part('Content-Disposition: form-data; name="a"\r\n'
      .. "Content-Transfer-Encoding: base64", "b") .. "--x--" },
    ["a field that is no text"] = { TYPE, field("a", "\255") .. "--x--" },
    ["too many parts"] = { TYPE, (function()
      local out = {}
      for i = 1, 51 do out[i] = field("a" .. i, "b") end
      return table.concat(out) .. "--x--"
    end)() },
  }
  for what, given in pairs(bad) do
    t.it("is refused: " .. what, function()
      local parts, why = multipart.parse(given[1], given[2])
      t.equal(parts, nil)
      t.equal(type(why), "string")
    end)
  end
end)
