local t = require "till.test"
local file = require "till.prim.file"
local folder = require "tests.support.folder"


t.describe("till.prim.file", function()
  t.it("writes all or nothing, and reads it back to the byte", function()
    local text = "\0\1\255 tea\r\n"
    local path = folder.write("bytes", text)
    t.equal(file.read(path), text)
    t.equal(file.stat(path).size, #text)
    folder.write("bytes", "")
    t.equal(file.read(path), "")
    local good, failure = file.write(path .. "/below", "x")
    t.same({ good, failure.code }, { nil, "internal" })
  end)

  t.it("says what is not there", function()
    for _, name in ipairs { "read", "list", "stat" } do
      local value, failure = file[name]("/nowhere/at/all")
      t.equal(value, nil, name)
      t.equal(failure.code, "not_found", name)
    end
  end)
end)
