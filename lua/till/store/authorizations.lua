-- till/store/authorizations - payments that a provider holds money for until some time.
--
--   plan(provider, days, alert_ms, limit) -> how many | nil, err    gives those that have no time
--                       yet theirs: that of their authorization and `days`, where nothing truer is
--                       known; they are looked at alert_ms before it
--   plan_rests(provider, days) -> true | nil, err    the same of those that were asked for in part
--                       before they had a time, once they are due; and what was captured whole is
--                       not looked at any more
--   due(provider, limit) -> payments, whose look is due longest first | nil, err
--   look_at(id, ms [, expires_ms])   the next look; and another end, where that is given
--                       of one that is held still, in whole or in part
--   over(order_ids) -> { id = true }
--
-- No function touches `updated_at`: others go by it.
local db = require "till.store.db"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"

local authorizations = {}

-- Assignments run from left to right.
local PLAN = "UPDATE payments SET authorization_expires_at = COALESCE(authorization_expires_at,"
  .. " (SELECT MAX(e.at) FROM payment_events e WHERE e.payment_id = payments.id"
  .. " AND e.kind = 'authorized') + INTERVAL ? DAY, created_at + INTERVAL ? DAY),"
  .. " authorization_look_at = authorization_expires_at - INTERVAL ? SECOND,"
  .. " updated_at = updated_at WHERE state = 'authorized' AND provider = ?"
  .. " AND authorization_look_at IS NULL LIMIT ?"


function authorizations.plan(provider, days, alert_ms, limit)
  local done, e = sql.exec(PLAN, days, days, math.floor(alert_ms / 1000), provider, limit)
  if not done then return nil, e end
  return done.affected
end


local PARTS = "state IN ('captured', 'disputed', 'won', 'lost')"
local MOST = 500


function authorizations.plan_rests(provider, days)
  local ok, e = sql.exec("UPDATE payments SET authorization_look_at = NULL, updated_at = updated_at"
    .. " WHERE " .. PARTS .. " AND provider = ? AND authorization_look_at <= ? AND NOT "
    .. payments.HAS_LEFT .. " LIMIT ?", provider, db.now(), MOST)
  if not ok then return nil, e end
  return sql.exec("UPDATE payments SET authorization_expires_at = created_at + INTERVAL ? DAY,"
    .. " updated_at = updated_at WHERE (state = 'authorized' OR " .. PARTS .. ") AND provider = ?"
    .. " AND authorization_look_at <= ? AND authorization_expires_at IS NULL LIMIT ?", days,
    provider, db.now(), MOST)
end


function authorizations.due(provider, limit)
  local rows, e = sql.query("SELECT " .. payments.COLUMNS .. " FROM payments"
    .. " WHERE (state = 'authorized' OR " .. PARTS .. " AND " .. payments.HAS_LEFT .. ")"
    .. " AND provider = ? AND authorization_look_at <= ?"
    .. " ORDER BY authorization_look_at LIMIT ?", provider, db.now(), limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = payments.of_row(row) end
  return rows
end


function authorizations.look_at(payment_id, ms, expires_ms)
  return sql.exec("UPDATE payments SET authorization_look_at = ?, authorization_expires_at ="
    .. " COALESCE(?, authorization_expires_at), updated_at = updated_at WHERE id = ?"
    .. " AND (state = 'authorized' OR " .. payments.HAS_LEFT .. ")", db.at_ms(ms),
    db.at_ms(expires_ms), db.bin("pay", payment_id))
end


--- Cancelled, or nothing of it is owed any more: it was paid otherwise, or came back.
function authorizations.over(order_ids)
  return db.ids_of("ord", "SELECT id FROM orders WHERE id IN (%s) AND (status = 'cancelled'"
    .. " OR payment_status IN ('captured', 'partially_refunded', 'refunded') OR 0 >= (SELECT"
    .. " COALESCE(SUM(l.amount), 1) FROM ledger_entries l WHERE l.order_id = orders.id"
    .. " AND l.account = 'receivable'))", order_ids)
end


return authorizations
