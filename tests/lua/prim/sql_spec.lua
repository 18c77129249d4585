local t = require "till.test"
local sql = require "till.prim.sql"

local EDGE = 9007199254740992


local function with_table(fn)
  return function()
    t.empty_shop()
    assert(sql.exec("DROP TABLE IF EXISTS spec_rows"))
    assert(sql.exec("CREATE TABLE spec_rows (id BIGINT NOT NULL PRIMARY KEY, n BIGINT, text TEXT,"
      .. " bin VARBINARY(5000), id16 BINARY(16), price DECIMAL(20,4), at DATETIME(3), real_ DOUBLE,"
      .. " big BIGINT UNSIGNED) ENGINE=InnoDB CHARACTER SET utf8mb4"))
    fn()
    assert(sql.exec("DROP TABLE spec_rows"))
  end
end


local function put(id, n)
  return assert(sql.exec("INSERT INTO spec_rows (id, n) VALUES (?, ?)", id, n))
end


local function n_of(id)
  local row = assert(sql.one("SELECT n FROM spec_rows WHERE id = ?", id))
  return row.n
end


t.describe("a statement", function()
  t.it("gives rows, one row, or what it did", with_table(function()
    t.same(sql.query("SELECT id FROM spec_rows"), {})
    t.equal(sql.one("SELECT id FROM spec_rows"), false)
    t.equal(put(1, 10).affected, 1)
    put(2, 20)
    t.same(sql.query("SELECT id, n FROM spec_rows ORDER BY id"),
      { { id = 1, n = 10 }, { id = 2, n = 20 } })
    t.same(sql.one("SELECT n AS other FROM spec_rows ORDER BY id DESC"), { other = 20 })
    t.equal(sql.exec("UPDATE spec_rows SET n = n + 1").affected, 2)
    t.equal(sql.exec("DELETE FROM spec_rows WHERE id = 9").affected, 0)
    t.same(sql.query("SELECT id FROM spec_rows WHERE id IN (" .. sql.marks(3) .. ")", 1, 2, 3),
      { { id = 1 }, { id = 2 } })
  end))

  t.it("takes NULL by either name, anywhere, and has no such column then", with_table(function()
    assert(sql.exec("INSERT INTO spec_rows (id, n, text, price) VALUES (?, ?, ?, ?)", 1, sql.null,
      nil, nil))
    t.same(sql.one("SELECT * FROM spec_rows"), { id = 1 })
    assert(sql.exec("UPDATE spec_rows SET n = ?, text = ? WHERE n <=> ?", nil, "x", sql.null))
    t.same(sql.one("SELECT * FROM spec_rows"), { id = 1, text = "x" })
  end))

  t.table({
    { why = "keeps 2^53", value = EDGE }, { why = "keeps 2^53 - 1", value = EDGE - 1 },
    { why = "keeps -2^53", value = -EDGE }, { why = "keeps 0", value = 0 },
  }, function(case)
    with_table(function()
      put(1, case.value)
      t.equal(n_of(1), case.value)
      t.equal(sql.one("SELECT id FROM spec_rows WHERE CAST(n AS CHAR) = ?",
        ("%.0f"):format(case.value)).id, 1)
    end)()
  end)

  t.table({
    { why = "refuses 2^53 + 1", column = "n", value = "9007199254740993" },
    { why = "refuses -2^53 - 1", column = "n", value = "-9007199254740993" },
    { why = "refuses the largest BIGINT", column = "n", value = "9223372036854775807" },
    { why = "refuses it also of an unsigned column", column = "big",
      value = "9223372036854775807" },
  }, function(case)
    with_table(function()
      assert(sql.exec("INSERT INTO spec_rows (id, " .. case.column .. ") VALUES (1, ?)",
        case.value))
      for _, ask in ipairs { sql.one, sql.query } do
        local row, failure = ask("SELECT " .. case.column .. " FROM spec_rows")
        t.same({ row, failure and failure.code }, { nil, "out_of_range" })
      end
      t.equal(sql.one("SELECT CAST(" .. case.column .. " AS CHAR) AS s FROM spec_rows").s,
        case.value)
    end)()
  end)

  t.it("gives the digits of what only an unsigned column can hold", with_table(function()
    assert(sql.exec("INSERT INTO spec_rows (id, big) VALUES (1, ?)", "18446744073709551615"))
    t.equal(sql.one("SELECT big FROM spec_rows").big, "18446744073709551615")
  end))

  t.it("gives amounts as text and reals as numbers", with_table(function()
    assert(sql.exec("INSERT INTO spec_rows (id, price, real_) VALUES (1, ?, ?)",
      "1234567890123456.7891", 0.1))
    t.same(sql.one("SELECT price, real_ FROM spec_rows"),
      { price = "1234567890123456.7891", real_ = 0.1 })
    t.equal(type(sql.one("SELECT SUM(id) AS s FROM spec_rows").s), "string")
    t.equal(sql.one("SELECT ? AS yes", true).yes, 1)
    t.equal(sql.one("SELECT ? AS no", false).no, 0)
  end))

  t.it("keeps bytes and characters", with_table(function()
    local all = {}
    for byte = 0, 255 do all[#all + 1] = string.char(byte) end
    local bytes, id16 = table.concat(all):rep(16), "\1" .. ("\0"):rep(15)
    local text = "a\0'\"\\%_ \226\130\172 \240\159\141\181"
    assert(sql.exec("INSERT INTO spec_rows (id, bin, id16, text) VALUES (1, ?, ?, ?)",
      sql.bytes(bytes), sql.bytes(id16), text))
    local row = sql.one("SELECT bin, id16, text FROM spec_rows WHERE id16 = ?", sql.bytes(id16))
    t.ok(row.bin == bytes)
    t.equal(row.id16, id16)
    t.equal(row.text, text)
  end))

  t.it("gives moments to the millisecond, in UTC", with_table(function()
    assert(sql.exec("INSERT INTO spec_rows (id, at) VALUES (1, ?)", "2026-03-29 01:30:00.007"))
    t.equal(sql.one("SELECT at FROM spec_rows").at, "2026-03-29T01:30:00.007Z")
  end))

  t.it("says what the database refuses, and keeps its words for the log", with_table(function()
    put(1, 1)
    local row, failure = sql.exec("INSERT INTO spec_rows (id) VALUES (?)", 1)
    t.same({ row, failure.code, failure.errcode }, { nil, "duplicate", 1062 })
    t.ok(failure.log:find("Duplicate entry", 1, true))
    t.equal(failure.message:find("Duplicate", 1, true), nil)
    row, failure = sql.query("SELECT nothing FROM nowhere")
    t.same({ row, failure.code }, { nil, "rejected" })
    row, failure = sql.query("SELECT ? AS a, ? AS b", 1)
    t.same({ row, failure ~= nil }, { nil, true })
    t.throws(function() sql.query("SELECT ?", {}) end, "no parameter")
    t.throws(function() sql.query("SELECT ?", print) end, "no parameter")
    t.throws(function() sql.marks(0) end, "at least one value")
  end))
end)
