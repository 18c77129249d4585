-- till/store/ahead - times that a clock which was far ahead has left.
--
--   pull_back() -> n | nil, err     how many were brought back to what they can be at most
--
-- Goods would be held and flows wait until a day in another year. What lies beyond the longest that
-- anything can be is over at once, or in as long as goods are held for where they are. Who is at it
-- still, on the machine whose clock it is, is fenced by his claim as always. Of carts nothing is
-- brought back: a claim from so far ahead is none (till.store.carts).
local conf = require "till.prim.conf"
local db = require "till.store.db"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local ahead = {}

local HOUR_MS = 3600000
local AT_ONCE = 1000 -- rows a statement


-- No hold is longer: of the shop, of any key, or while a provider is asked.
local function longest_hold_ms()
  local row, e = sql.one "SELECT COALESCE(MAX(hold_minutes), 0) AS m FROM api_keys"
  if not row then return nil, e end
  return math.max(tonumber(row.m), conf.get "cart.hold_minutes", 60) * 60000
end


local function holds(now_ms)
  local longest, e = longest_hold_ms()
  if not longest then return nil, e end
  local beyond = db.at_ms(now_ms + longest + HOUR_MS)
  local rows, e2 = sql.query("SELECT id FROM reservations FORCE INDEX"
    .. " (reservations_expiry) WHERE state = 'held' AND expires_at > ? LIMIT " .. AT_ONCE, beyond)
  if not rows then return nil, e2 end
  local ends = db.at_ms(now_ms + conf.get "cart.reservation_minutes" * 60000)
  for _, row in ipairs(rows) do
    local ok, e3 = sql.exec("UPDATE reservations SET expires_at = ? WHERE id = ? AND state = 'held'"
      .. " AND expires_at > ?", ends, sql.bytes(row.id), beyond)
    if not ok then return nil, e3 end
  end
  return #rows
end


local function flows(now_ms)
  local now, beyond = db.at_ms(now_ms), db.at_ms(now_ms + HOUR_MS
    + conf.get "payments.not_found_after_ms" + conf.get "cart.completion_claim_ms")
  local rows, e = sql.query("SELECT id FROM sagas WHERE state = 'running'"
    .. " AND claimed_until > ? OR state = 'waiting' AND next_at > ? LIMIT " .. AT_ONCE, beyond,
    beyond)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local ok, e2 = sql.exec("UPDATE sagas SET claimed_until = IF(claimed_until > ?, ?,"
      .. " claimed_until), next_at = IF(next_at > ?, ?, next_at) WHERE id = ?", beyond, now, beyond,
      now, row.id)
    if not ok then return nil, e2 end
  end
  return #rows
end


function ahead.pull_back()
  local now_ms = time.now_ms()
  local n, e = flows(now_ms)
  if not n then return nil, e end
  local held, e2 = holds(now_ms)
  if not held then return nil, e2 end
  return n + held
end


return ahead
