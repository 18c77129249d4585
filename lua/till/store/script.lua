-- till/store/script - statements that are one transaction and travel in one piece.
--
--   local s = script.new()
--   s:exec(text, ...)                as tx:exec, but it runs later -> {}
--   s:must(refusal, n, text, ...)    nothing happens where it changes fewer than n
--   s:give(columns)                  columns of run's row: expressions and @variables
--   s:run() -> row | false, refusal | nil, err
--
-- One round trip and one commit, however many statements there are: they are sent as one compound
-- statement, prepared once for its text. What fails inside rolls all of it back; a deadlock runs it
-- again. Where there are too many parameters for a statement that is worth keeping they run one by
-- one in a transaction. err.unknown_outcome is true where it was sent and its answer lost.
-- Ended by max_statement_time (1969) before its COMMIT it is undone; afterwards nobody knows, which
-- 1317 says: a step of the server's clock ends both, and only what is undone may run again.
--
-- `?` as everywhere; no statement here may give rows. A statement sees what those before it did.
-- Rows that others wait for come last, for they are locked until the end.
local sql = require "till.prim.sql"

local script = {}
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
local MOST_PARAMS = 300 -- some six lines of an order


function script.new()
  return setmetatable({ steps = {}, args = {}, n = 0, columns = "" }, meta)
end


local function add(self, step, ...)
  step.first = self.n + 1
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if value == nil then value = sql.null end
    self.args[self.n + i] = value
  end
  self.n = self.n + select("#", ...)
  step.last = self.n
  self.steps[#self.steps + 1] = step
  return {}
end


function methods:exec(text, ...)
  return add(self, { text = text }, ...)
end


function methods:must(refusal, n, text, ...)
  return add(self, { text = text, refusal = refusal, wanted = n }, ...)
end


function methods:give(columns)
  self.columns = ", " .. columns
end


local function compound(self)
  local parts = { HEAD }
  for i, step in ipairs(self.steps) do
    parts[#parts + 1] = step.text
    parts[#parts + 1] = step.wanted and CHECK:format(step.wanted, i) or "; "
  end
  parts[#parts + 1] = TAIL:format(self.columns)
  return table.concat(parts)
end


local function run_whole(self)
  local row, e = sql.whole(compound(self), unpack(self.args, 1, self.n))
  if not row then return nil, e end
  if row.refused ~= 0 then return false, self.steps[row.refused].refusal end
  return row
end


local function run_step(tx, self, step)
  local done, e = tx:exec(step.text, unpack(self.args, step.first, step.last))
  if not done then return nil, e end
  if step.wanted and done.affected < step.wanted then
    return nil, { is_refusal = true, refusal = step.refusal }
  end
  return true
end


local function run_one_by_one(self)
  local row, e = sql.transaction(function(tx)
    for _, step in ipairs(self.steps) do
      local ok, e = run_step(tx, self, step)
      if not ok then return nil, e end
    end
    return tx:one("SELECT 0 AS refused" .. self.columns)
  end)
  if row then return row end
  if e.is_refusal then return false, e.refusal end
  return nil, e
end


function methods:run()
  if self.n > MOST_PARAMS then return run_one_by_one(self) end
  return run_whole(self)
end


return script
