--- Rows in bulk, for imports: many values in one statement, nothing overwritten.
local sql = require "till.prim.sql"


local import = {}


local MAX_VALUES = 2000 -- in one statement: what till.prim.sql takes
local statements = {}


-- One text for each table and number of rows, so that it is prepared once per connection.
local function statement(name, columns, n, suffix)
  local key = name .. ":" .. n
  if not statements[key] then
    local row = "(" .. sql.marks(#columns) .. ")"
    statements[key] = "INSERT INTO " .. name .. " (" .. table.concat(columns, ", ") ..
      ") VALUES " .. row .. string.rep(", " .. row, n - 1) .. (suffix or "")
  end
  return statements[key]
end


local function insert_chunk(tx, name, columns, rows, from, to, suffix)
  local values, n = {}, 0
  for i = from, to do
    local row = rows[i]
    for j = 1, #columns do
      n = n + 1
      values[n] = row[j]
    end
  end
  return tx:exec(statement(name, columns, to - from + 1, suffix), unpack(values, 1, n))
end


--- Inserts `rows` (lists of values in the order of `columns`; NULL is sql.null) inside `tx`.
-- `name`, `columns` and `suffix` (ON DUPLICATE KEY …) are the caller's constants, never input,
-- and there is one suffix to a table.
function import.insert(tx, name, columns, rows, suffix)
  local chunk = math.floor(MAX_VALUES / #columns)
  for from = 1, #rows, chunk do
    local to = math.min(from + chunk - 1, #rows)
    local ok, failure = insert_chunk(tx, name, columns, rows, from, to, suffix)
    if not ok then
      return nil, failure
    end
  end
  return true
end


--- Which of `values` stand in `column` of the table `name`: value → id (16 bytes).
function import.existing(name, column, values)
  local found = {}
  for from = 1, #values, 500 do
    local n = math.min(500, #values - from + 1)
    local rows, failure = sql.query("SELECT id, " .. column .. " AS value FROM " .. name ..
      " WHERE " .. column .. " IN (" .. sql.marks(n) .. ")", unpack(values, from, from + n - 1))
    if not rows then
      return nil, failure
    end
    for _, row in ipairs(rows) do
      found[row.value] = row.id
    end
  end
  return found
end


--- All variants: SKU → id (16 bytes).
function import.variants()
  local rows, failure = sql.query("SELECT id, sku FROM variants")
  if not rows then
    return nil, failure
  end
  local by_sku = {}
  for _, row in ipairs(rows) do
    by_sku[row.sku] = row.id
  end
  return by_sku
end


--- Is there any product at all?
function import.shop_is_empty()
  local row, failure = sql.one("SELECT 1 AS there FROM products LIMIT 1")
  if row == nil then
    return nil, failure
  end
  return row == false
end


--- The id of the location that stock is received at.
function import.main_location()
  local row, failure = sql.one("SELECT id FROM locations WHERE code = 'main'")
  return row and row.id, failure
end


--- Opens a transaction without time limit of its own: an import is no request.
function import.transaction(fn)
  return sql.transaction(fn, { attempts = 5, timeout_ms = 120000 })
end


return import
