-- till/store/script - statements that are one transaction and travel in one piece.
--
--   local s = script.new()
--   s:exec(text, ...)                as tx:exec, but it runs later -> {}
--   s:must(refusal, n, text, ...)    nothing happens where it changes fewer than n
--   s:insert(text, ...)              exec of an `INSERT INTO … VALUES …` whose rows no later
--                                    statement of its rank looks at
--   s:sum(refusal, key, n, text, ...)   a statement on one row, `key`, that others want as well;
--                                    script.SUM among its parameters is n. refusal nil: none
--   s:about(key)                     what its conditions are about: of one key no two go together,
--                                    for the second has to see what the first has done
--   s:rank(n)                        of what follows: all of a rank runs before the next one. OWN
--                                    at first, and the rows that others wait for last (STOCK)
--   s:give(expression AS name)       a column of run's row: of @till_… variables
--   s:run() -> row | false, refusal | nil, err
--
-- One round trip and one commit, however many statements there are: they are sent as one compound
-- statement, prepared once for its text. What fails inside rolls all of it back; a deadlock runs it
-- again. Where there are too many parameters for a statement that is worth keeping they run one by
-- one in a transaction. err.unknown_outcome is true where it was sent and its answer lost.
-- Ended by max_statement_time (1969) before its COMMIT it is undone; afterwards nobody knows, which
-- 1317 says: a step of the server's clock ends both, and only what is undone may run again.
--
-- Scripts that wait for the same row go together (till.prim.combine, orders.combine): those of all
-- who wait in this worker are one transaction. Of each rank first the statements of each script, in
-- the order of arrival, then all rows of the same insert at once, then the sums: one statement for
-- a key, with the sum of all, in the order of the keys. What cannot go as a whole goes in parts
-- until each has what he would have had alone: a refused must takes out its script, a refused sum
-- (not enough for all) and a failure halve. Lost answers are lost for all of them.
--
-- `?` as everywhere; no statement here may give rows. A statement sees what those before it did.
-- Rows that others wait for come last, for they are locked until the end.
local combine = require "till.prim.combine"
local conf = require "till.prim.conf"
local fault = require "till.prim.fault"
local sql = require "till.prim.sql"

local script = { SUM = {}, OWN = 1, COUNTED = 2, NOTED = 3, STOCK = 4 }
local methods = {}
local meta = { __index = methods }

local HEAD = "BEGIN NOT ATOMIC DECLARE refused INT DEFAULT 0;"
  .. " DECLARE EXIT HANDLER FOR SQLSTATE '45000' BEGIN ROLLBACK; SELECT refused; END;"
  .. " DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;"
  .. " DECLARE EXIT HANDLER FOR 1969 BEGIN ROLLBACK;"
  .. " IF refused < 0 THEN RESIGNAL SET MYSQL_ERRNO = 1317; END IF; RESIGNAL; END;"
  .. " START TRANSACTION; "
local CHECK = "; IF ROW_COUNT() < %d THEN SET refused = %d; SIGNAL SQLSTATE '45000'; END IF; "
local TAIL = "SET refused = -1; COMMIT; SELECT 0 AS refused%s; END"
local MOST_PARAMS = 300 -- of one script: some six lines of an order
local MOST_TOGETHER = 1900 -- of several; a statement takes 2000


function script.new()
  return setmetatable({ ranks = { {}, {}, {}, {} }, at = script.OWN, n = 0, keys = {} }, meta)
end


local function add(self, step, ...)
  local n = select("#", ...)
  for i = 1, n do
    local value = select(i, ...)
    if value == nil then value = sql.null end
    step[i] = value
  end
  self.n = self.n + n
  local steps = self.ranks[self.at]
  steps[#steps + 1] = step
  return {}
end


function methods:exec(text, ...)
  return add(self, { text = text }, ...)
end


function methods:must(refusal, n, text, ...)
  return add(self, { text = text, refusal = refusal, wanted = n }, ...)
end


function methods:insert(text, ...)
  return add(self, { text = text, is_insert = true }, ...)
end


function methods:sum(refusal, key, n, text, ...)
  self.keys[#self.keys + 1] = key
  return add(self, { text = text, refusal = refusal, wanted = refusal ~= nil and 1 or nil,
    key = key, amount = n }, ...)
end


function methods:about(key)
  self.subject = key
end


function methods:rank(n)
  self.at = n
end


function methods:give(column)
  self.expression, self.name = column:match("^(.*) AS (%w+)$")
end


-- ---- several as one ----------------------------------------------------------------------

local named = {} -- text -> the same with the variables of the i-th script


local function text_of(text, i)
  if i == 1 or not text:find("@till_", 1, true) then return text end
  local list = named[text]
  if not list then
    list = {}
    named[text] = list
  end
  if not list[i] then list[i] = text:gsub("@till_(%l+)", "@till_%1_" .. i) end
  return list[i]
end


-- "INSERT … VALUES " and the rows after it.
local function halves_of(text)
  local _, last = text:find(" VALUES ", 1, true)
  return text:sub(1, last), text:sub(last + 1)
end


local function add_args(to, from)
  for i, value in ipairs(from) do to[#to + 1] = value end
end


local function add_insert(inserts, text, step)
  local head, rows = halves_of(text)
  local all = inserts[head]
  if not all then
    all = { text = text }
    inserts[head], inserts[#inserts + 1] = all, all
  else
    all.text = all.text .. ", " .. rows
  end
  add_args(all, step)
end


local function add_sum(sums, step)
  local id = step.key .. step.text
  local sum = sums[id]
  if not sum then
    sum = { text = step.text, key = step.key, amount = 0, wanted = step.wanted,
      refusal = step.refusal }
    add_args(sum, step)
    sums[id], sums[#sums + 1] = sum, sum
  end
  sum.amount = sum.amount + step.amount
end


local function comes_before(a, b)
  if a.key ~= b.key then return a.key < b.key end
  return a.text < b.text
end


local function append_rank(out, rank, scripts)
  local inserts, sums = {}, {}
  for i, s in ipairs(scripts) do
    for _, step in ipairs(s.ranks[rank]) do
      local text = text_of(step.text, i)
      if step.key then
        add_sum(sums, step)
      elseif step.is_insert and scripts[2] then
        add_insert(inserts, text, step)
      else
        step.member, step.named = i, text
        out[#out + 1] = step
      end
    end
  end
  for _, all in ipairs(inserts) do out[#out + 1] = all end
  table.sort(sums, comes_before)
  for _, sum in ipairs(sums) do out[#out + 1] = sum end
end


-- All statements of the scripts, in the order in which they run.
local function in_order(scripts)
  local out = {}
  for rank = script.OWN, script.STOCK do append_rank(out, rank, scripts) end
  return out
end


local function columns_of(scripts)
  local out = ""
  for i, s in ipairs(scripts) do
    if s.name then
      out = ("%s, %s AS %s_%d"):format(out, text_of(s.expression, i), s.name, i)
    end
  end
  return out
end


local function row_of(row, s, i)
  return s.name and { [s.name] = row[s.name .. "_" .. i] } or {}
end


local function add_params(args, step)
  local n = #args
  for i, value in ipairs(step) do
    if value == script.SUM then value = step.amount end
    args[n + i] = value
  end
end


-- ---- running -----------------------------------------------------------------------------

local function compound(steps, scripts)
  local parts, args = { HEAD }, {}
  for i, step in ipairs(steps) do
    parts[#parts + 1] = step.named or step.text
    parts[#parts + 1] = step.wanted and CHECK:format(step.wanted, i) or "; "
    add_params(args, step)
  end
  parts[#parts + 1] = TAIL:format(columns_of(scripts))
  return table.concat(parts), args
end


-- -> row | false, the step that refused | nil, err
local function run_whole(scripts)
  local steps = in_order(scripts)
  local text, args = compound(steps, scripts)
  local row, e = sql.whole(text, unpack(args))
  if not row then return nil, e end
  if row.refused ~= 0 then return false, steps[row.refused] end
  return row
end


local function run_step(tx, step)
  local args = {}
  add_params(args, step)
  local done, e = tx:exec(step.text, unpack(args))
  if not done then return nil, e end
  if step.wanted and done.affected < step.wanted then
    return nil, { is_refusal = true, step = step }
  end
  return true
end


local function run_one_by_one(self)
  local row, e = sql.transaction(function(tx)
    for _, step in ipairs(in_order { self }) do
      local ok, e = run_step(tx, step)
      if not ok then return nil, e end
    end
    return tx:one("SELECT 0 AS refused" .. columns_of { self })
  end)
  if row then return row end
  if e.is_refusal then return false, e.step end
  return nil, e
end


local function run_alone(self)
  local run = self.n > MOST_PARAMS and run_one_by_one or function(s) return run_whole { s } end
  local row, why = run(self)
  if row then return row_of(row, self, 1) end
  if row == false then return false, why.refusal end
  return nil, why
end


-- ---- together ------------------------------------------------------------------------------

local UNDONE = { deadlock = true, duplicate = true, rejected = true, out_of_range = true }


local function is_too_much(scripts)
  local n = 0
  for _, s in ipairs(scripts) do n = n + s.n end
  return n > MOST_TOGETHER
end


-- The first that is about the same as one before it, or nil.
local function second_of_one(scripts)
  local seen = {}
  for i, s in ipairs(scripts) do
    if s.subject and seen[s.subject] then return i end
    seen[s.subject or s] = true
  end
end


-- -> an answer for each | false [, whose fault it was] | nil, err
local function run_several(scripts)
  if is_too_much(scripts) then return false end
  local at = second_of_one(scripts)
  if at then return false, at end
  fault.crash "combine.before_commit"
  local row, why = run_whole(scripts)
  fault.crash "combine.after_commit"
  if row == false then return false, why.member end
  if not row then
    if UNDONE[why.code] and not why.unknown_outcome then return false end
    return nil, why
  end
  local out = {}
  for i, s in ipairs(scripts) do out[i] = { row = row_of(row, s, i) } end
  return out
end


local function run_flight(scripts)
  if scripts[2] then return run_several(scripts) end
  local row, why = run_alone(scripts[1])
  if row == nil then return nil, why end
  return { { row = row, refusal = why } }
end


local together = combine.kind { name = "script", most = 16, run = run_flight }


function methods:run()
  if not self.keys[1] or not conf.get("orders.combine") then return run_alone(self) end
  local answer, e = together:go(self.keys, self)
  if not answer then return nil, e end
  return answer.row, answer.refusal
end


return script
