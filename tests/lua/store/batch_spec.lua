-- What many write of one kind: in which statements, and with which parameters.
local t = require "till.test"
local batch = require "till.store.batch"

local INSERT = "INSERT INTO things (id, name) VALUES "
local UPDATE = "UPDATE things SET name = ?, n = n + ? WHERE id = ?"


local function run(batches)
  local sent = {}
  local tx = {}
  function tx.exec(_, text, ...)
    sent[#sent + 1] = { text = text, n = select("#", ...), ... }
    return {}
  end
  t.equal(batch.run(tx, batches), true)
  return sent
end


local function rows_of(sent)
  local out = {}
  for i, one in ipairs(sent) do out[i] = one.n / 2 end
  return out
end


-- `each` rows a step, as (i, "x")
local function inserts(steps, each)
  local out, n = {}, 0
  for s = 1, steps do
    local b, args = batch.new(), {}
    for i = 1, each do
      n = n + 1
      args[2 * i - 1], args[2 * i] = n, "x"
    end
    b:insert(INSERT .. "(?, ?)" .. (", (?, ?)"):rep(each - 1), unpack(args))
    out[s] = b
  end
  return out
end


t.describe("rows that many insert", function()
  t.it("are few statements, of few sizes, and none is left out", function()
    t.same(rows_of(run(inserts(1, 1))), { 1 })
    t.same(rows_of(run(inserts(8, 1))), { 8 })
    t.same(rows_of(run(inserts(13, 1))), { 12, 1 })
    t.same(rows_of(run(inserts(11, 3))), { 32, 1 })
    for n = 1, 200 do
      local sent, next_id = run(inserts(n, 1)), 1
      for _, one in ipairs(sent) do
        t.equal(select(2, one.text:gsub("%?", "")), one.n)
        for i = 1, one.n, 2 do
          t.equal(one[i], next_id)
          next_id = next_id + 1
        end
      end
      t.equal(next_id, n + 1)
      t.ok(#sent <= 6, n)
    end
  end)

  t.it("are together whoever brings how many, and keep what stands behind them", function()
    local one, two = batch.new(), batch.new()
    one:insert(INSERT .. "(?, NOW(3)), (?, NOW(3)) ON DUPLICATE KEY UPDATE id = id", 1, 2)
    two:insert(INSERT .. "(?, NOW(3)) ON DUPLICATE KEY UPDATE id = id", 3)
    local sent = run { one, two }
    t.equal(#sent, 1)
    t.equal(sent[1].text,
      INSERT .. "(?, NOW(3)), (?, NOW(3)), (?, NOW(3)) ON DUPLICATE KEY UPDATE id = id")
    t.same({ unpack(sent[1]) }, { 1, 2, 3 })
  end)

  t.it("of which no two are alike go as they are", function()
    local one = batch.new()
    one:insert(INSERT .. "(?, 'a'), (?, 'b')", 1, 2)
    t.same(run { one, one }, {
      { text = INSERT .. "(?, 'a'), (?, 'b')", n = 2, 1, 2 },
      { text = INSERT .. "(?, 'a'), (?, 'b')", n = 2, 1, 2 } })
  end)
end)


t.describe("rows that many update", function()
  t.it("bring a value that is the same for all once, and others by their ids", function()
    local list = {}
    for i = 1, 3 do
      list[i] = batch.new()
      list[i]:exec(UPDATE, "n" .. i, 5, i)
    end
    local case = "CASE id" .. (" WHEN ? THEN ?"):rep(4) .. " END"
    t.same(run(list), { { n = 13,
      text = "UPDATE things SET name = " .. case .. ", n = n + ? WHERE id IN (?, ?, ?, ?)",
      1, "n1", 2, "n2", 3, "n3", 3, "n3", 5, 1, 2, 3, 3 } })
  end)

  t.it("end as who came last has left them, whatever others write", function()
    local OTHER = "UPDATE things SET name = ?, at = ? WHERE id = ?"
    local one, two = batch.new(), batch.new()
    one:exec(UPDATE, "a", 1, 7)
    two:exec(OTHER, "b", 2, 8)
    two:exec(UPDATE, "c", 3, 8)
    t.same(run { one, two }, { { text = UPDATE, n = 3, "a", 1, 7 },
      { text = OTHER, n = 3, "b", 2, 8 }, { text = UPDATE, n = 3, "c", 3, 8 } })
  end)

  t.it("are another statement where an id comes again", function()
    local one, two = batch.new(), batch.new()
    one:exec(UPDATE, "a", 1, 7)
    two:exec(UPDATE, "b", 1, 7)
    t.same(run { one, two }, { { text = UPDATE, n = 3, "a", 1, 7 },
      { text = UPDATE, n = 3, "b", 1, 7 } })
  end)
end)
