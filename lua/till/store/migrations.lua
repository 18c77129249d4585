-- till/store/migrations - which files of sql/ the database has seen.
--
--   parse(files)        { { name =, text = }, … } -> sorted list of { version, name, checksum,
--                       statements } | nil, sentence
--   applied([tx])       rows of schema_migrations by version; an empty table in a new database
--   compare(files, rows) -> list of files to run | nil, sentence that says what to do
--   apply(tx, file)     runs it and records it
--   with_lock(fn)       fn(tx) while nobody else migrates
--
-- DDL commits by itself, so a file that fails half way leaves its first statements behind. They are
-- named in the error; that file is not recorded.
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local err = require "till.util.err"
local sql = require "till.prim.sql"

local migrations = {}

local TABLE = [[
CREATE TABLE IF NOT EXISTS schema_migrations (
  version    INT          NOT NULL,
  name       VARCHAR(120) NOT NULL,
  checksum   CHAR(64) CHARACTER SET ascii NOT NULL COMMENT 'SHA-256 of the file',
  applied_at DATETIME(3)  NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (version)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4]]
local DDL_MS = 300000


-- A statement ends with `;` at the end of a line; lines of comment alone are left out.
local function statements_of(text)
  local out, lines = {}, {}
  -- linear: the text ends with a line end
  for line in (text .. "\n"):gmatch("(.-)\r?\n") do
    if not line:find("^%s*%-%-") then lines[#lines + 1] = line end
    if line:find(";%s*$") and not line:find("^%s*%-%-") then
      lines[#lines] = line:gsub(";%s*$", "")
      out[#out + 1] = table.concat(lines, "\n")
      lines = {}
    end
  end
  if table.concat(lines):find("%S") then return nil, "its last statement has no `;`" end
  return out
end


function migrations.parse(files)
  local out, seen = {}, {}
  for _, file in ipairs(files) do
    local version = tonumber(file.name:match("^(%d%d%d%d)_[%w_]+%.sql$"))
    if version then
      local statements, why = statements_of(file.text)
      if not statements then return nil, file.name .. ": " .. why end
      if seen[version] then
        return nil, ("%s and %s have the same number"):format(seen[version], file.name)
      end
      seen[version] = file.name
      out[#out + 1] = { version = version, name = file.name, statements = statements,
        checksum = crypto.hex(crypto.sha256(file.text)) }
    end
  end
  table.sort(out, function(a, b) return a.version < b.version end)
  return out
end


function migrations.applied(tx)
  local conn = db.on(tx)
  local there, e = conn:one("SELECT 1 AS yes FROM information_schema.tables"
    .. " WHERE table_schema = DATABASE() AND table_name = 'schema_migrations'")
  if there == nil then return nil, e end
  local out = {}
  if not there then return out end
  local rows, e2 = conn:query("SELECT version, name, checksum, applied_at"
    .. " FROM schema_migrations ORDER BY version")
  if not rows then return nil, e2 end
  for _, row in ipairs(rows) do out[row.version] = row end
  return out
end


local function refuse_unknown(files, rows)
  local known = {}
  for _, file in ipairs(files) do known[file.version] = true end
  for version, row in pairs(rows) do
    if not known[version] then
      return nil, ("the database has %s, which this moontill does not know: it is older than the "
        .. "database; start the newer one"):format(row.name)
    end
  end
  return true
end


function migrations.compare(files, rows)
  local todo, newest = {}, 0
  local ok, why = refuse_unknown(files, rows)
  if not ok then return nil, why end
  for version in pairs(rows) do newest = math.max(newest, version) end
  for _, file in ipairs(files) do
    local row = rows[file.version]
    if not row then
      if file.version < newest then
        return nil, ("%s was never applied, but later ones were; give it a number above %04d")
          :format(file.name, newest)
      end
      todo[#todo + 1] = file
    elseif row.checksum ~= file.checksum then
      return nil, ("%s has changed since it was applied; put the file back and write a new one")
        :format(file.name)
    end
  end
  return todo
end


function migrations.apply(tx, file)
  for i, statement in ipairs(file.statements) do
    local ok, e = tx:exec(statement)
    if not ok then
      return nil, e:at(("%s, statement %d of %d"):format(file.name, i, #file.statements))
    end
  end
  return tx:exec("INSERT INTO schema_migrations (version, name, checksum) VALUES (?, ?, ?)",
    file.version, file.name, file.checksum)
end


--- `fn(tx)` on the connection that holds the lock. The lock is the server's and outlasts the
-- implicit commits of DDL.
function migrations.with_lock(fn)
  return sql.transaction(function(tx)
    local row, e1 = tx:one("SELECT GET_LOCK(CONCAT('moontill:', DATABASE()), 60) AS got")
    if not row then return nil, e1 end
    if row.got ~= 1 then return nil, err.new("busy", "somebody else is migrating this database") end
    local done, e2 = tx:exec(TABLE)
    if done then done, e2 = fn(tx) end
    tx:one("SELECT RELEASE_LOCK(CONCAT('moontill:', DATABASE())) AS released")
    if not done then return nil, type(e2) == "string" and err.new("conflict", e2) or e2 end
    return done
  end, { attempts = 1, timeout_ms = DDL_MS })
end


return migrations
