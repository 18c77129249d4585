local t = require "till.test"
local file = require "till.prim.file"
local folder = require "tests.support.folder"

-- "a,b\n" and three times "1,2\n", packed.
local HEX = "fd377a585a000004e6d6b4460200210116000000742fe5a3e0000f000d5d00308b0840a674d2ae"
  .. "78412e000000000000d4b16bfa02a2441500012910a43a77791fb6f37d010000000004595a"
local PACKED = HEX:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)


local function read_all(path, n)
  local reader, rows = assert(file.csv(path)), {}
  while true do
    local some, failure = reader:next(n or 100)
    if not some then return rows, failure, reader end
    for _, row in ipairs(some) do rows[#rows + 1] = row end
  end
end


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
    for _, name in ipairs { "read", "list", "stat", "csv" } do
      local value, failure = file[name]("/nowhere/at/all")
      t.equal(value, nil, name)
      t.equal(failure.code, "not_found", name)
    end
  end)
end)


t.describe("a CSV file", function()
  t.it("is read in pieces, each row with its line", function()
    local path = folder.write("good.csv", 'a,b\r\n1,"x ""y"",\nz"\r\n\r\n,\r\n')
    local rows, failure = read_all(path, 1)
    t.equal(failure, nil)
    t.same(rows, { { "a", "b", line = 1 }, { "1", 'x "y",\nz', line = 2 },
      { "", "", line = 5 } })
  end)

  t.it("goes on after a bad row, which is told with its line", function()
    local rows = read_all(folder.write("bad.csv", 'a,b\n"x"y,2\n3,4\nq\0,1\n5,6\n\255,1\n'))
    t.same({ rows[1][1], rows[2].line, rows[3][1], rows[4].line, rows[5][1], rows[6].line },
      { "a", 2, "3", 4, "5", 6 })
    for _, i in ipairs { 2, 4, 6 } do t.equal(type(rows[i].error), "string") end
  end)

  t.it("with a quote that never closes has one bad row more", function()
    local rows = read_all(folder.write("open.csv", 'a\n"b\nc\n'))
    t.equal(rows[1][1], "a")
    t.equal(rows[2].line, 2)
    t.ok(rows[2].error)
  end)

  t.it("is empty without being wrong, and says how far it is", function()
    local rows, failure, reader = read_all(folder.write("none.csv", ""))
    t.same({ rows, failure, reader:progress() }, { {}, nil, 1 })
    local half = assert(file.csv(folder.write("two.csv", "a\nb\n")))
    t.equal(half:progress(), 0)
    half:next(2)
    t.equal(half:progress(), 1)
    half:close()
    half:close()
    t.throws(function() half:next() end, "the reader was closed")
  end)

  t.it("packed with xz is unpacked on the way", function()
    local rows, failure = read_all(folder.write("good.csv.xz", PACKED))
    t.equal(failure, nil)
    t.same(rows, { { "a", "b", line = 1 }, { "1", "2", line = 2 }, { "1", "2", line = 3 },
      { "1", "2", line = 4 } })
  end)

  t.table({
    { why = "that was torn is a failure, not an end", text = PACKED:sub(1, 60) },
    { why = "that was torn in its index is one too", text = PACKED:sub(1, -4) },
    { why = "that is broken is a failure",
      text = PACKED:sub(1, 40) .. "~~~~" .. PACKED:sub(45) },
  }, function(case)
    local _, failure = read_all(folder.write("torn.csv.xz", case.text))
    t.ok(failure, "no failure")
    t.equal(failure.code, "invalid_request")
  end)
end)
