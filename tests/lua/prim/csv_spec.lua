local t = require "till.test"
local csv = require "till.prim.csv"
local folder = require "tests.support.folder"

-- "a,b\n" and three times "1,2\n", packed.
local HEX = "fd377a585a000004e6d6b4460200210116000000742fe5a3e0000f000d5d00308b0840a674d2ae"
  .. "78412e000000000000d4b16bfa02a2441500012910a43a77791fb6f37d010000000004595a"
local PACKED = HEX:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)


local function read_all(path, n)
  local reader, rows = assert(csv.file(path)), {}
  while true do
    local some, failure = reader:next(n or 100)
    if not some then return rows, failure, reader end
    for _, row in ipairs(some) do rows[#rows + 1] = row end
  end
end


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
    local half = assert(csv.file(folder.write("two.csv", "a\nb\n")))
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

  t.it("that is not there is told so", function()
    local reader, failure = csv.file("/nowhere/at/all")
    t.same({ reader, failure.code }, { nil, "not_found" })
  end)
end)


t.describe("a CSV text", function()
  t.it("is read like a file", function()
    local reader = csv.text('a,b\n"1",2')
    t.same(reader:next(10), { { "a", "b", line = 1 }, { "1", "2", line = 2 } })
    t.same({ reader:next(10), reader:progress() }, { nil, 1 })
    t.equal(csv.text(""):next(1), nil)
  end)
end)
