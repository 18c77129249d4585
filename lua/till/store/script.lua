-- till/store/script - statements that are one transaction and travel in one piece.
--
--   local s = script.new()
--   s:exec(text, ...)                as tx:exec, but it runs later -> {}
--   s:must(refusal, n, text, ...)    nothing happens where it changes fewer than n
--   s:insert(text, ...)              exec of an `INSERT INTO … VALUES …` whose rows no later
--                                    statement of its rank looks at
--   s:each(refusal, form, ...)       a must on a row of its own, of which all are done at once:
--                                    form = { before, each, between, after, counts = }. Where it
--                                    counts each changes a row, else it is one for all together
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
-- statement, prepared once for its text. What fails inside rolls all of it back, and where MariaDB
-- runs no handler, as for an UPDATE on a full disk, core does (io/sql_conn.c); a deadlock runs it
-- again. Where there are too many parameters for a statement that is worth keeping they run one by
-- one in a transaction. err.unknown_outcome is true where it was sent and its answer lost.
-- Ended by max_statement_time (1969) before its COMMIT it is undone; afterwards nobody knows, which
-- 1317 says: a step of the server's clock ends both, and only what is undone may run again.
--
-- Scripts that wait for the same row go together (till.prim.combine, orders.combine): those of all
-- who wait in this worker are one transaction. Of each rank first the statements of each script, in
-- the order of arrival, then the forms, then all rows of the same insert at once, then the sums:
-- one statement for a key, with the sum of all, in the order of the keys. What cannot go as a whole
-- goes in parts until each has what he would have had alone: a refused must takes out its script, a
-- refused form, a refused sum (not enough for all) and a failure halve. Lost answers are lost for
-- all of them.
-- Where the refusal is AGAIN, which says no more than that it has to be looked at, whoever wants as
-- much of that row within the next moment has it without asking: of what is sold out a thousand who
-- wait would be halved and asked for one by one.
--
-- `?` as everywhere; no statement here may give rows. A statement sees what those before it did.
-- Rows that others wait for come last, for they are locked until the end.
local combine = require "till.prim.combine"
local conf = require "till.prim.conf"
local fault = require "till.prim.fault"
local lru = require "till.util.lru"
local sql = require "till.prim.sql"
local steps = require "till.store.script_steps"
local time = require "till.prim.time"

local script = { SUM = steps.SUM, OWN = 1, COUNTED = 2, NOTED = 3, STOCK = 4, AGAIN = "again" }
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
  return setmetatable({ ranks = { {}, {}, {}, {} }, at = script.OWN, n = 0, keys = {},
    sums = {} }, meta)
end


local DONE = {} -- what any step answers: it has not run yet


local function add(self, step, n)
  for i = 1, n do
    if step[i] == nil then step[i] = sql.null end
  end
  self.n = self.n + n
  local rank = self.ranks[self.at]
  rank[#rank + 1] = step
  return DONE
end


function methods:exec(text, ...)
  return add(self, { text = text, ... }, select("#", ...))
end


function methods:must(refusal, n, text, ...)
  return add(self, { text = text, refusal = refusal, wanted = n, ... }, select("#", ...))
end


function methods:each(refusal, form, ...)
  return add(self, { text = form[1], form = form, refusal = refusal, ... }, select("#", ...))
end


function methods:insert(text, ...)
  return add(self, { text = text, is_insert = true, ... }, select("#", ...))
end


function methods:sum(refusal, key, n, text, ...)
  local step = { text = text, refusal = refusal, wanted = refusal ~= nil and 1 or nil, key = key,
    amount = n, ... }
  self.keys[#self.keys + 1], self.sums[#self.sums + 1] = key, step
  return add(self, step, select("#", ...))
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


-- ---- running -----------------------------------------------------------------------------

local function write(list, columns)
  local parts = { HEAD }
  for i, step in ipairs(list) do
    parts[#parts + 1] = step.named or step.text
    parts[#parts + 1] = step.wanted and CHECK:format(step.wanted, i) or "; "
  end
  parts[#parts + 1] = TAIL:format(columns)
  return table.concat(parts)
end


-- What scripts that run alone are written as: a tree by the texts of their steps. There are few of
-- them, of thousands of bytes each, and each order would have its own put together anew.
local MOST_KEPT = 1000
local kept, kept_n = {}, 0


local function child_of(node, key)
  local child = node[key]
  if not child then
    child = {}
    node[key] = child
    kept_n = kept_n + 1
  end
  return child
end


local function written(list, columns)
  if kept_n > MOST_KEPT then kept, kept_n = {}, 0 end
  local node = kept
  for i = 1, #list do
    local step = list[i]
    node = child_of(node, step.named or step.text)
    if step.wanted then node = child_of(node, step.wanted) end
  end
  local text = node[columns] -- which is no statement's text
  if not text then
    text = write(list, columns)
    node[columns] = text
  end
  return text
end


local function compound(list, scripts)
  local args, columns = {}, steps.columns_of(scripts)
  for i = 1, #list do steps.add_params(args, list[i]) end
  return scripts[2] and write(list, columns) or written(list, columns), args
end


-- -> row | false, the step that refused | nil, err
local function run_whole(scripts)
  local list = steps.in_order(scripts, true)
  local text, args = compound(list, scripts)
  local row, e = sql.whole(text, unpack(args))
  if not row then return nil, e end
  if row.refused ~= 0 then return false, list[row.refused] end
  return row
end


local function run_step(tx, step)
  local args = {}
  steps.add_params(args, step)
  local done, e = tx:exec(step.text, unpack(args))
  if not done then return nil, e end
  if step.wanted and done.affected < step.wanted then
    return nil, { is_refusal = true, step = step }
  end
  return true
end


local function run_one_by_one(self)
  local row, e = sql.transaction(function(tx)
    for _, step in ipairs(steps.in_order { self }) do
      local ok, e = run_step(tx, step)
      if not ok then return nil, e end
    end
    return tx:one("SELECT 0 AS refused" .. steps.columns_of { self })
  end)
  if row then return row end
  if e.is_refusal then return false, e.step end
  return nil, e
end


local function run_alone(self, on_refused)
  local run = self.n > MOST_PARAMS and run_one_by_one or function(s) return run_whole { s } end
  local row, why = run(self)
  if row then return steps.row_of(row, self, 1) end
  if row == false then
    if on_refused then on_refused(why) end
    return false, why.refusal
  end
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
  for i, s in ipairs(scripts) do out[i] = { row = steps.row_of(row, s, i) } end
  return out
end


local SHORT_MS, SHORT_KEYS = 50, 1000
local short = lru.new(SHORT_KEYS) -- key -> an amount that was not there just now


local function note_short(step)
  if step.key and step.refusal == script.AGAIN then
    short:set(step.key, step.amount, time.mono_ms() + SHORT_MS)
  end
end


local function is_short(s, now)
  for _, step in ipairs(s.sums) do
    local amount = step.refusal == script.AGAIN and short:get(step.key, now)
    if amount and step.amount >= amount then return true end
  end
  return false
end


local function run_single(s)
  local row, why = run_alone(s, note_short)
  if row == nil then return nil, why end
  return { { row = row, refusal = why } }
end


local function run_flight(scripts)
  local answers, rest, places, now = {}, {}, {}, time.mono_ms()
  for i, s in ipairs(scripts) do
    if is_short(s, now) then
      answers[i] = { row = false, refusal = script.AGAIN }
    else
      rest[#rest + 1], places[#rest + 1] = s, i
    end
  end
  if not rest[1] then return answers end
  if not scripts[2] then return run_single(scripts[1]) end
  local got, why = run_several(rest)
  if got == false then return false, places[why] end
  if not got then return nil, why end
  for i, answer in ipairs(got) do answers[places[i]] = answer end
  return answers
end


local together = combine.kind { name = "script", most = 16, run = run_flight }


function methods:run()
  if not self.keys[1] or not conf.get("orders.combine") then return run_alone(self) end
  local answer, e = together:go(self.keys, self)
  if not answer then return nil, e end
  return answer.row, answer.refusal
end


return script
