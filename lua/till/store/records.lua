-- till/store/records - what core/trade keeps of an effect, as statements of a till.store.script:
-- its events (core/trade/outbox.h) and the answer under its Idempotency-Key (core/trade/idem.h).
--
--   events(script, { { aggregate =, type =, payload = }, … })    a transaction will do as well
--   answer(script, once, status, headers, pieces)
--                        refused (USED) where the key is not ours: it runs elsewhere, is answered
--   claim(script, once, lease_ms) -> number    the key is ours, with the script; refused (USED)
--                        where it has a record, whatever that says
--   is_used(once)        -> condition and its parameters: has the key a record?
--
-- once: { scope =, key =, print =, claim = }. Where nothing was claimed the record comes into being
-- with the effect and is done at once; so nobody finds it running, and who comes second waits for
-- the transaction of the first.
-- pieces: a text, or { before, expression, after } with what only the database knows between them.
local co = require "till.prim.co"
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local json = require "till.prim.json"
local sql = require "till.prim.sql"

local records = {}

records.USED = "used"
local EVENT = "(?, ?, ?, ?, NOW(3))"


function records.events(script, list)
  local args, trace = {}, co.traceparent() or ""
  for _, event in ipairs(list) do
    local n = #args
    args[n + 1], args[n + 2] = event.aggregate, event.type
    args[n + 3], args[n + 4] = json.encode(event.payload), trace
  end
  return db.insert(script, "INSERT INTO outbox (aggregate, type, payload, traceparent,"
    .. " available_at) VALUES " .. EVENT .. (", " .. EVENT):rep(#list - 1), unpack(args))
end


local function scope_of(once)
  once.scope_hash = once.scope_hash or crypto.sha256(once.scope)
  return sql.bytes(once.scope_hash)
end


function records.is_used(once)
  return "EXISTS (SELECT 1 FROM idempotency_records WHERE scope = ? AND idem_key = ?)",
    scope_of(once), sql.bytes(once.key)
end


function records.claim(script, once, lease_ms)
  local number = tonumber(crypto.hex(crypto.random(6)), 16) + 1
  script:must(records.USED, 1, "INSERT INTO idempotency_records (scope, idem_key, fingerprint,"
    .. " state, claim, claimed_until) VALUES (?, ?, ?, 'running', ?, NOW(3) + INTERVAL ?"
    .. " MICROSECOND) ON DUPLICATE KEY UPDATE claim = claim", scope_of(once),
    sql.bytes(once.key), sql.bytes(once.print), number, lease_ms * 1000)
  return number
end


local function body_of(pieces)
  if type(pieces) == "string" then return "?", sql.bytes(pieces) end
  return "CONCAT(?, " .. pieces[2] .. ", ?)", pieces[1], pieces[3]
end


local function finish(script, once, status, headers, mark, ...)
  local args = { status, headers, ... }
  local n = #args
  args[n + 1], args[n + 2], args[n + 3] = scope_of(once), sql.bytes(once.key), once.claim
  script:must(records.USED, 1, "UPDATE idempotency_records SET state = 'done', http_status = ?,"
    .. " headers = ?, body = " .. mark .. ", finished_at = NOW(3) WHERE scope = ?"
    .. " AND idem_key = ? AND claim = ? AND state = 'running'", unpack(args))
end


-- One that is there is left as it is: no row has changed then.
local function insert(script, once, status, headers, mark, ...)
  script:must(records.USED, 1, "INSERT INTO idempotency_records (scope, idem_key, fingerprint,"
    .. " state, claim, claimed_until, http_status, headers, finished_at, body)"
    .. " VALUES (?, ?, ?, 'done', 0, NOW(3), ?, ?, NOW(3), " .. mark .. ")"
    .. " ON DUPLICATE KEY UPDATE claim = claim", scope_of(once), sql.bytes(once.key),
    sql.bytes(once.print), status, headers, ...)
end


function records.answer(script, once, status, headers, pieces)
  local write = once.claim and finish or insert
  write(script, once, status, headers, body_of(pieces))
end


return records
