-- support/mariadb - till.prim.sql over a real MariaDB, by the FFI: for specs of what writes SQL.
--
--   local mariadb = dofile("tests/lua/support/mariadb.lua")
--   local sql = mariadb.connect(socket, database)      one connection, text protocol, blocking
--   sql.close()
--
-- It answers as the real module does: rows by column name, NULL absent, DATETIME as RFC 3339,
-- BINARY as bytes, DECIMAL as text, errors with the codes of the status table.
local ffi = require "ffi"

ffi.cdef [[
typedef struct {
  char *name, *org_name, *table, *org_table, *db, *catalog, *def;
  unsigned long length, max_length;
  unsigned int name_length, org_name_length, table_length, org_table_length, db_length,
    catalog_length, def_length, flags, decimals, charsetnr;
  int type;
  void *extension;
} till_test_field;
void *mysql_init(void *);
int mysql_options(void *, int, const void *);
void *mysql_real_connect(void *, const char *, const char *, const char *, const char *,
  unsigned int, const char *, unsigned long);
int mysql_real_query(void *, const char *, unsigned long);
void *mysql_store_result(void *);
unsigned int mysql_num_fields(void *);
till_test_field *mysql_fetch_fields(void *);
char **mysql_fetch_row(void *);
unsigned long *mysql_fetch_lengths(void *);
unsigned long long mysql_affected_rows(void *);
unsigned long long mysql_insert_id(void *);
unsigned int mysql_errno(void *);
const char *mysql_error(void *);
unsigned long mysql_real_escape_string(void *, char *, const char *, unsigned long);
void mysql_free_result(void *);
void mysql_close(void *);
]]

local lib = ffi.load("mariadb")

local mariadb = {}

local NUMBERS = { [1] = true, [2] = true, [3] = true, [8] = true, [9] = true, [13] = true }
local DATETIME, TIMESTAMP = 12, 7
local NULL, BYTES = {}, {}
local CODES = { [1062] = "duplicate", [1213] = "deadlock", [1205] = "timeout",
  [4025] = "rejected", [1452] = "rejected", [1451] = "rejected", [2006] = "conn_lost",
  [2013] = "conn_lost" }


local function literal(handle, value)
  if value == nil or value == NULL then return "NULL" end
  if type(value) == "number" then return ("%.17g"):format(value) end
  if type(value) == "boolean" then return value and "1" or "0" end
  if type(value) == "table" and value[BYTES] then
    return "X'" .. value[BYTES]:gsub(".", function(c) return ("%02x"):format(c:byte()) end) .. "'"
  end
  if type(value) ~= "string" then error("not a parameter: " .. tostring(value), 5) end
  local out = ffi.new("char[?]", #value * 2 + 1)
  local n = lib.mysql_real_escape_string(handle, out, value, #value)
  return "'" .. ffi.string(out, n) .. "'"
end


local function bind(handle, text, args, n)
  local i = 0
  local out = text:gsub("%?", function()
    i = i + 1
    return literal(handle, args[i])
  end)
  if i ~= n then error(("%d marks, %d parameters: %s"):format(i, n, text), 4) end
  return out
end


local function column(field, text)
  if NUMBERS[field.type] then return tonumber(text) end
  if field.type == DATETIME or field.type == TIMESTAMP then return text:gsub(" ", "T") .. "Z" end
  return text
end


local function rows_of(result)
  local rows, n = {}, lib.mysql_num_fields(result)
  local fields = lib.mysql_fetch_fields(result)
  while true do
    local row = lib.mysql_fetch_row(result)
    if row == nil then return rows end
    local lengths, out = lib.mysql_fetch_lengths(result), {}
    for i = 0, n - 1 do
      if row[i] ~= nil then
        out[ffi.string(fields[i].name)] = column(fields[i], ffi.string(row[i], lengths[i]))
      end
    end
    rows[#rows + 1] = out
  end
end


local function run(handle, text)
  if lib.mysql_real_query(handle, text, #text) ~= 0 then
    local code = CODES[lib.mysql_errno(handle)] or "internal"
    return nil, require("till.util.err").new(code, ffi.string(lib.mysql_error(handle)) .. "\n"
      .. text)
  end
  local result = lib.mysql_store_result(handle)
  if result == nil then
    return { affected = tonumber(lib.mysql_affected_rows(handle)),
      insert_id = tonumber(lib.mysql_insert_id(handle)) }
  end
  local rows = rows_of(result)
  lib.mysql_free_result(result)
  return rows
end


local function methods(handle)
  local m = {}
  function m:query(text, ...) return run(handle, bind(handle, text, { ... }, select("#", ...))) end
  m.exec = m.query
  function m:one(text, ...)
    local rows, e = run(handle, bind(handle, text, { ... }, select("#", ...)))
    if not rows then return nil, e end
    return rows[1] or false
  end
  return m
end


local function transact(handle, tx, fn)
  assert(run(handle, "START TRANSACTION"))
  local out = { xpcall(fn, debug.traceback, tx) }
  if out[1] and out[2] ~= nil then
    local ok, e = run(handle, "COMMIT")
    if not ok then return nil, e end
    return unpack(out, 2, 5)
  end
  run(handle, "ROLLBACK")
  if not out[1] then error(out[2], 0) end
  return nil, out[3]
end


function mariadb.connect(socket, database)
  local handle = lib.mysql_init(nil)
  lib.mysql_options(handle, 7, "utf8mb4")
  if lib.mysql_real_connect(handle, nil, "root", "", database, 0, socket, 0) == nil then
    error("MariaDB: " .. ffi.string(lib.mysql_error(handle)))
  end
  local m, sql = methods(handle), { null = NULL }
  for _, name in ipairs { "query", "one", "exec" } do
    sql[name] = function(text, ...) return m[name](m, text, ...) end
  end
  function sql.transaction(fn) return transact(handle, m, fn) end
  function sql.bytes(s) return { [BYTES] = s } end
  function sql.marks(n) return ("?, "):rep(n - 1) .. "?" end
  function sql.close() lib.mysql_close(handle) end
  assert(sql.exec("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"))
  assert(sql.exec("SET time_zone = '+00:00'"))
  return sql
end


return mariadb
