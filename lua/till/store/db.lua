-- till/store/db - what every store needs to speak with the tables.
--
--   db.on(tx)            the transaction if there is one, else the pool: query, one, exec
--   db.insert(tx, text, ...)   an `INSERT INTO … VALUES …`, of a script (till.store.script) as its
--                        insert: what follows must not look at these rows
--   db.bin(prefix, id)   public id -> parameter for a BINARY(16) column; NULL when it is none
--   db.text(prefix, bin) column -> public id, nil for NULL
--   db.json(text)        column -> value, nil for NULL
--   db.to_json(value)    value -> parameter; nil and JSON's null become NULL
--   db.at(text)          RFC 3339 -> parameter for DATETIME(3); db.at_ms(ms) likewise
--   db.given(value)      a value of a request: JSON's null becomes nil
--   db.bins(prefix, ids) list of parameters for `IN (…)`, as db.padded makes it
--   db.ids_of(prefix, text, ids) -> { id = true } of the rows that the statement gives, with `id`;
--                        its %s is the list of `ids`
--   db.padded(list)      the same list, the last value again until there are 1, 2, 4, 8, … of them:
--                        lists of any length make few texts to prepare
--
-- SQL reaches the database with `?` only; nothing is ever pasted into a statement but column names
-- that the store itself spells.
local id = require "till.util.id"
local json = require "till.prim.json"
local sql = require "till.prim.sql"
local time = require "till.prim.time"
require "till.prim.ulid"

local db = {}

local MAX_PADDED = 1024 -- a statement takes 2000 parameters

local pool = {
  query = function(_, ...) return sql.query(...) end,
  one = function(_, ...) return sql.one(...) end,
  exec = function(_, ...) return sql.exec(...) end,
}


function db.on(tx)
  return tx or pool
end


function db.insert(tx, ...)
  tx = db.on(tx)
  return (tx.insert or tx.exec)(tx, ...)
end


function db.bin(prefix, text)
  local bin = text and id.bin(prefix, text)
  if not bin then return sql.null end
  return sql.bytes(bin)
end


function db.text(prefix, bin)
  return bin and id.text(prefix, bin) or nil
end


function db.padded(list)
  local n, size = #list, 1
  if n == 0 or n > MAX_PADDED then return list end
  while size < n do size = size * 2 end
  for i = n + 1, size do list[i] = list[n] end
  return list
end


function db.ids_of(prefix, text, ids)
  if #ids == 0 then return {} end
  local args = db.bins(prefix, ids)
  local rows, e = sql.query(text:format(sql.marks(#args)), unpack(args))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[db.text(prefix, row.id)] = true end
  return out
end


function db.bins(prefix, ids)
  local out = {}
  for i, text in ipairs(ids) do out[i] = db.bin(prefix, text) end
  return db.padded(out)
end


function db.json(text)
  if text == nil then return nil end
  local value, err = json.decode(text)
  if value == nil then error("a JSON column does not hold JSON: " .. tostring(err)) end
  if value == json.null then return nil end
  return value
end


function db.given(value)
  if value == json.null then return nil end
  return value
end


function db.to_json(value)
  value = db.given(value)
  if value == nil then return sql.null end
  return json.encode(value)
end


function db.at(text)
  text = db.given(text)
  if text == nil then return sql.null end
  return time.sql((assert(time.parse(text))))
end


function db.at_ms(ms)
  return ms and time.sql(ms) or sql.null
end


--- Now, and so many milliseconds later, as a parameter.
function db.now(plus_ms)
  return time.sql(time.now_ms() + (plus_ms or 0))
end


--- Groups rows by a column: value -> list of rows.
function db.group(rows, column)
  local out = {}
  for _, row in ipairs(rows) do
    local list = out[row[column]]
    if not list then
      list = {}
      out[row[column]] = list
    end
    list[#list + 1] = row
  end
  return out
end


return db
