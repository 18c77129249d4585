-- till/store/batch - what many write of one kind, in few statements.
--
--   local b = batch.new()
--   b:exec(text, ...), b:insert(text, ...)   as tx:exec, but it is only noted -> {}
--   batch.run(tx, batches) -> true | nil, err    writes all of them, inside of the transaction
--
-- All `INSERT … VALUES …` of one text but for their rows are one statement, and so are all
-- `UPDATE … WHERE id = ?` of one text (of ids that differ; one that comes again makes another one).
-- What is neither runs by itself. They run in the order in which each text came first: whoever
-- writes here must not look at what was written here. For stores that take a transaction and ask
-- for nothing back.
--
-- A `?` of an UPDATE becomes a CASE by the id; its rows are 1, 2, 4, 8, … (the last one again), so
-- that lists of any length make few texts to prepare.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local batch = {}
local methods = {}
local meta = { __index = methods }

local MOST_PARAMS = 1900 -- a statement takes 2000


function batch.new()
  return setmetatable({ steps = {} }, meta)
end


function methods:exec(text, ...)
  local step = { text = text, n = select("#", ...), ... }
  for i = 1, step.n do
    if step[i] == nil then step[i] = sql.null end
  end
  self.steps[#self.steps + 1] = step
  return {}
end


methods.insert = methods.exec


-- "INSERT … VALUES ", its rows, and what stands behind them.
local function parts_of_insert(text)
  local _, last = text:find(" VALUES ", 1, true)
  if not last or not text:find("^INSERT ") then return nil end
  local tail = text:find(" ON DUPLICATE KEY ", last, true)
  return text:sub(1, last), text:sub(last + 1, (tail or 0) - 1), tail and text:sub(tail) or ""
end


local function append(to, from, first, last)
  for i = first, last do to[#to + 1] = from[i] end
end


-- ---- grouping ------------------------------------------------------------------------------

local function add_insert(groups, step, head, rows, tail)
  local group = groups[head .. tail]
  if not group or #group.args + step.n > MOST_PARAMS then
    group = { kind = "insert", head = head, tail = tail, rows = {}, args = {} }
    groups[head .. tail], groups[#groups + 1] = group, group
  end
  group.rows[#group.rows + 1] = rows
  append(group.args, step, 1, step.n)
end


local function add_update(groups, step)
  local group, id = groups[step.text], step[step.n]
  if type(id) == "table" then id = id[1] end -- bytes
  if not group or group.ids[id] or (2 * step.n) * (#group + 1) > MOST_PARAMS / 2 then
    group = { kind = "update", text = step.text, ids = {} }
    groups[step.text], groups[#groups + 1] = group, group
  end
  group.ids[id], group[#group + 1] = true, step
end


local function group_all(batches)
  local groups = {}
  for _, one in ipairs(batches) do
    for _, step in ipairs(one.steps) do
      local head, rows, tail = parts_of_insert(step.text)
      if head then
        add_insert(groups, step, head, rows, tail)
      elseif step.text:find("^UPDATE .* WHERE id = %?$") then
        add_update(groups, step)
      else
        groups[#groups + 1] = { kind = "alone", step }
      end
    end
  end
  return groups
end


-- ---- running -------------------------------------------------------------------------------

local RUN = {}


function RUN.insert(tx, group)
  return tx:exec(group.head .. table.concat(group.rows, ", ") .. group.tail, unpack(group.args))
end


function RUN.alone(tx, group)
  return tx:exec(group[1].text, unpack(group[1], 1, group[1].n))
end


-- The last parameter of each is its id.
function RUN.update(tx, group)
  if #group == 1 then return RUN.alone(tx, group) end
  local rows, args, at = db.padded(group), {}, 0
  local case = "CASE id" .. (" WHEN ? THEN ?"):rep(#rows) .. " END"
  local text = group.text:sub(1, -#"id = ?" - 1):gsub("%?", function()
    at = at + 1
    for _, step in ipairs(rows) do append(args, { step[step.n], step[at] }, 1, 2) end
    return case
  end)
  for _, step in ipairs(rows) do args[#args + 1] = step[step.n] end
  return tx:exec(text .. "id IN (" .. sql.marks(#rows) .. ")", unpack(args))
end


function batch.run(tx, batches)
  for _, group in ipairs(group_all(batches)) do
    local ok, e = RUN[group.kind](tx, group)
    if not ok then return nil, e end
  end
  return true
end


return batch
