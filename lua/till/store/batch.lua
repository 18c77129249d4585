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
-- Lists of any length make few texts to prepare, for a connection keeps so many: a `?` of an UPDATE
-- becomes a CASE by the id where its values differ, for 1, 2, 4, 8, … rows (the last one again),
-- and the rows of an INSERT go in pieces of SIZES.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local batch = {}
local methods = {}
local meta = { __index = methods }

local MOST_PARAMS = 1900 -- a statement takes 2000
local SIZES = { 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1 }


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


-- "INSERT … VALUES ", one of its rows, how many there are, and what stands behind them.
local function parts_of_insert(text)
  local _, last = text:find(" VALUES ", 1, true)
  if not last or not text:find("^INSERT ") then return nil end
  local tail = text:find(" ON DUPLICATE KEY ", last, true)
  local rows = text:sub(last + 1, (tail or 0) - 1)
  local row = rows:match "^%b()" or rows -- linear: it begins at one place
  local n = (#rows + 2) / (#row + 2)
  if rows ~= row .. (", " .. row):rep(n - 1) then return nil end -- they differ
  return text:sub(1, last), row, n, tail and text:sub(tail) or ""
end


local function append(to, from, first, last)
  for i = first, last do to[#to + 1] = from[i] end
end


-- ---- grouping ------------------------------------------------------------------------------

local function add_insert(groups, step, head, row, n, tail)
  local key = head .. row .. tail
  local group = groups[key]
  if not group then
    group = { kind = "insert", head = head, row = row, tail = tail, n = 0, args = {} }
    groups[key], groups[#groups + 1] = group, group
  end
  group.n = group.n + n
  append(group.args, step, 1, step.n)
end


-- What comes to a row later stays later, whatever else of it is written: `last` has the place of
-- the group that was at it last.
local function add_update(groups, last, step)
  local group, id = groups[step.text], step[step.n]
  if type(id) == "table" then id = id[1] end -- bytes
  local row = step.text:match "^UPDATE (%S+)" .. " " .. tostring(id)
  if not group or group.ids[id] or group.at < (last[row] or 0)
    or (2 * step.n) * (#group + 1) > MOST_PARAMS / 2 then
    group = { kind = "update", text = step.text, ids = {}, at = #groups + 1 }
    groups[step.text], groups[#groups + 1] = group, group
  end
  group.ids[id], group[#group + 1], last[row] = true, step, group.at
end


local function group_all(batches)
  local groups, last = {}, {}
  for _, one in ipairs(batches) do
    for _, step in ipairs(one.steps) do
      local head, row, n, tail = parts_of_insert(step.text)
      if head then
        add_insert(groups, step, head, row, n, tail)
      elseif step.text:find("^UPDATE .* WHERE id = %?$") then
        add_update(groups, last, step)
      else
        groups[#groups + 1] = { kind = "alone", step }
      end
    end
  end
  return groups
end


-- ---- running -------------------------------------------------------------------------------

local RUN = {}


local function size_of(left, width)
  for _, size in ipairs(SIZES) do
    if size <= left and size * width <= MOST_PARAMS then return size end
  end
end


function RUN.insert(tx, group)
  local width, left, at = #group.args / group.n, group.n, 0
  while left > 0 do
    local size = size_of(left, width)
    local done, e = tx:exec(group.head .. group.row .. (", " .. group.row):rep(size - 1)
      .. group.tail, unpack(group.args, at + 1, at + size * width))
    if not done then return nil, e end
    left, at = left - size, at + size * width
  end
  return true
end


function RUN.alone(tx, group)
  return tx:exec(group[1].text, unpack(group[1], 1, group[1].n))
end


local function is_one_value(group, at)
  for _, step in ipairs(group) do
    if not rawequal(step[at], group[1][at]) then return false end
  end
  return true
end


-- The last parameter of each is its id.
function RUN.update(tx, group)
  if #group == 1 then return RUN.alone(tx, group) end
  local rows, args, at = db.padded(group), {}, 0
  local case = "CASE id" .. (" WHEN ? THEN ?"):rep(#rows) .. " END"
  local text = group.text:sub(1, -#"id = ?" - 1):gsub("%?", function()
    at = at + 1
    if is_one_value(rows, at) then
      args[#args + 1] = rows[1][at]
      return "?"
    end
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
