-- till/store/keys - API keys. The tables hold their SHA-256; the key itself is shown once.
--
--   find(hash) -> { id, kind, name, roles, revoked } | false | nil, err     (till.http.auth)
--   create{ kind =, name =, roles =, reservation_minutes =, hold_minutes = } -> key, its text
--   list(opts), revoke(id)
--   set_minutes(id, { reservation_minutes =, hold_minutes = }) -> true | false (no such
--                                  publishable key) | nil, err; json.null: as the shop says
--
-- A publishable key is a channel: how long a cart holds stock may be its own.
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local id = require "till.util.id"
local json = require "till.prim.json"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local keys = {}

local HEADS = { publishable = "mtp_", secret = "mts_" }
local COLUMNS = "id, kind, name, hint, roles, reservation_minutes, hold_minutes, created_at,"
  .. " revoked_at"


local function to_key(row)
  return { id = id.text("key", row.id), kind = row.kind, name = row.name, hint = row.hint,
    roles = db.json(row.roles) or {}, reservation_minutes = row.reservation_minutes,
    hold_minutes = row.hold_minutes,
    created_at = row.created_at, revoked_at = row.revoked_at,
    revoked = row.revoked_at ~= nil }
end


function keys.find(hash)
  local row, e = sql.one("SELECT " .. COLUMNS .. " FROM api_keys WHERE key_hash = ?",
    sql.bytes(hash))
  if not row then return row, e end
  return to_key(row)
end


function keys.get(key_id)
  local row, e = sql.one("SELECT " .. COLUMNS .. " FROM api_keys WHERE id = ?",
    db.bin("key", key_id))
  if not row then return row, e end
  return to_key(row)
end


function keys.create(f, tx)
  local text = HEADS[f.kind] .. crypto.base64url(crypto.random(32))
  local key_id = id.new("key")
  local ok, e = db.on(tx):exec("INSERT INTO api_keys (id, kind, name, key_hash, hint, roles,"
    .. " reservation_minutes, hold_minutes, created_at) VALUES (" .. sql.marks(9) .. ")",
    db.bin("key", key_id),
    f.kind, f.name, sql.bytes(crypto.sha256(text)), text:sub(-4),
    db.to_json(json.array(f.roles or {})), f.reservation_minutes or sql.null,
    f.hold_minutes or sql.null, db.now())
  if not ok then return nil, e end
  return { id = key_id, kind = f.kind, name = f.name, hint = text:sub(-4), roles = f.roles or {},
    reservation_minutes = f.reservation_minutes, hold_minutes = f.hold_minutes }, text
end


function keys.list(opts)
  local rows, e = page.rows { select = COLUMNS, from = "api_keys", id = "id", prefix = "key",
    opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_key(row) end
  return rows
end


function keys.set_minutes(key_id, fields)
  local bin, sets, args = db.bin("key", key_id), {}, {}
  for _, name in ipairs { "reservation_minutes", "hold_minutes" } do
    if fields[name] ~= nil then
      sets[#sets + 1], args[#args + 1] = name .. " = ?", db.given(fields[name]) or sql.null
    end
  end
  args[#args + 1] = bin
  local done, e = sql.exec("UPDATE api_keys SET " .. table.concat(sets, ", ") .. " WHERE id = ?"
    .. " AND kind = 'publishable' AND revoked_at IS NULL", unpack(args))
  if not done then return nil, e end
  if done.affected == 1 then return true end
  local row, e2 = sql.one("SELECT id FROM api_keys WHERE id = ? AND kind = 'publishable'"
    .. " AND revoked_at IS NULL", bin)
  if row == nil then return nil, e2 end
  return row ~= false
end


--- true | false when there is no such key, or it was revoked already.
function keys.revoke(key_id, tx)
  local done, e = db.on(tx):exec("UPDATE api_keys SET revoked_at = ? WHERE id = ?"
    .. " AND revoked_at IS NULL", db.now(), db.bin("key", key_id))
  if not done then return nil, e end
  return done.affected == 1
end


return keys
