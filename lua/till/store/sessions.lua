-- till/store/sessions - who is logged in. The tables hold the SHA-256 of a token.
--
--   find(hash) -> { id, kind = "staff" | "customer", subject_id, roles, expires_at_ms } | false
--   create(kind, subject_id, ttl_ms) -> token, expires_at_ms;  remove(id), purge(limit)
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local sessions = {}


--- A member of the staff who was disabled has no session, whatever the row says.
function sessions.find(hash)
  local row, e = sql.one("SELECT s.id, s.staff_id, s.customer_id, s.expires_at, t.roles,"
    .. " t.disabled_at FROM sessions s LEFT JOIN staff t ON t.id = s.staff_id"
    .. " WHERE s.token_hash = ? AND s.expires_at > ?", sql.bytes(hash), db.now())
  if not row then return row, e end
  if row.disabled_at then return false end
  local kind = row.staff_id and "staff" or "customer"
  return {
    id = id.text("sess", row.id), kind = kind, roles = db.json(row.roles) or {},
    subject_id = row.staff_id and id.text("staff", row.staff_id)
      or id.text("cus", row.customer_id),
    expires_at_ms = time.parse(row.expires_at),
  }
end


function sessions.create(kind, subject_id, ttl_ms)
  local token = "mtses_" .. crypto.base64url(crypto.random(32))
  local expires = time.now_ms() + ttl_ms
  local ok, e = sql.exec("INSERT INTO sessions (id, token_hash, staff_id, customer_id, created_at,"
    .. " expires_at) VALUES (?, ?, ?, ?, ?, ?)", db.bin("sess", id.new("sess")),
    sql.bytes(crypto.sha256(token)), db.bin("staff", kind == "staff" and subject_id or nil),
    db.bin("cus", kind == "customer" and subject_id or nil), db.now(), db.at_ms(expires))
  if not ok then return nil, e end
  return token, expires
end


function sessions.remove(session_id)
  return sql.exec("DELETE FROM sessions WHERE id = ?", db.bin("sess", session_id))
end


-- By the database's clock as well: one that is ahead logs nobody out for all others.
function sessions.purge(limit)
  return sql.exec("DELETE FROM sessions WHERE expires_at < LEAST(?, NOW(3)) LIMIT ?", db.now(),
    limit)
end


return sessions
