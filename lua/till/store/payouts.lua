-- till/store/payouts - what providers pay out to the shop's bank.
--
--   seen(tx, { provider, reference, currency, amount, at_ms, settlement_id, is_back })
--                              a movement of it was booked: it is asked about from now on. amount:
--                              what goes to the bank; is_back: it came back
--   open(s, after, limit) -> payouts of the provider that are to be asked about, by id
--   hold(payout, references)   those movements are what it holds (50 at most)
--   told(payout, { state, reason, at_ms, arrives_at_ms, is_listed, movements, movements_amount,
--                  is_open, settlement_id })       nil: as it was
--   named(name [, provider]) -> payouts of that number or reference
--   get(id) -> payout | false | nil, err           list(opts) newest first; opts.provider
--   of_period(s, limit) -> payouts that were made in it, oldest first
--   failed_before(payout, limit) -> references of those of its provider and currency that failed
--   items(payout, opts) -> what it holds, a page; as till.store.settlement_items
-- A payout has `difference`, amount - movements_amount, where both are known.
local db = require "till.store.db"
local page = require "till.store.page"
local settlement_items = require "till.store.settlement_items"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local payouts = {}

local COLUMNS = "id, provider, reference, currency, amount, state, reason, is_listed, movements,"
  .. " movements_amount, amount - movements_amount AS difference, is_open, at, arrives_at"
local ASKED_MS = 92 * 86400000 -- what the provider has not told by then he never tells


local function value(v)
  if v == nil then return sql.null end
  return v
end


function payouts.seen(tx, p)
  return tx:exec("INSERT INTO payouts (provider, reference, currency, amount, state, at,"
    .. " settlement_id) VALUES (?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE is_open = 1,"
    .. " state = IF(? AND state <> 'canceled', 'failed', state),"
    .. " settlement_id = VALUES(settlement_id)", p.provider, p.reference, p.currency, p.amount,
    p.is_back and "failed" or "created", db.at_ms(p.at_ms), p.settlement_id, p.is_back or false)
end


function payouts.open(s, after, limit)
  return sql.query("SELECT " .. COLUMNS .. " FROM payouts WHERE provider = ? AND is_open = 1"
    .. " AND at >= ? AND id > ? ORDER BY id LIMIT ?", s.provider,
    db.at_ms(time.now_ms() - ASKED_MS), after or 0, limit)
end


function payouts.hold(p, references)
  if #references == 0 then return true end
  local args = db.padded(references)
  return sql.exec("UPDATE settlement_items SET payout = ? WHERE provider = ? AND reference IN ("
    .. sql.marks(#args) .. ")", p.reference, p.provider, unpack(args))
end


function payouts.told(p, f, tx)
  return db.on(tx):exec("UPDATE payouts SET state = COALESCE(?, state),"
    .. " reason = COALESCE(?, reason), at = COALESCE(?, at), arrives_at = COALESCE(?, arrives_at),"
    .. " is_listed = COALESCE(?, is_listed), movements = COALESCE(?, movements),"
    .. " movements_amount = COALESCE(?, movements_amount), is_open = ?, settlement_id = ?"
    .. " WHERE id = ?", value(f.state), value(f.reason), db.at_ms(f.at_ms),
    db.at_ms(f.arrives_at_ms), value(f.is_listed), value(f.movements), value(f.movements_amount),
    f.is_open and 1 or sql.null, f.settlement_id, p.id)
end


function payouts.get(payout_id)
  return sql.one("SELECT " .. COLUMNS .. " FROM payouts WHERE id = ?", payout_id)
end


function payouts.named(name, provider)
  local number = name:match "^%d+$" and #name <= 15 and tonumber(name) or 0
  return sql.query("SELECT " .. COLUMNS .. " FROM payouts WHERE (id = ? OR reference = ?)"
    .. " AND provider = COALESCE(?, provider) ORDER BY id LIMIT 10", number, name,
    provider or sql.null)
end


function payouts.list(opts)
  return page.rows { select = COLUMNS, from = "payouts", id = "id", opts = opts,
    where = opts.provider and { "provider = ?" } or {},
    args = opts.provider and { opts.provider } or {}, newest_first = true }
end


function payouts.of_period(s, limit)
  return sql.query("SELECT " .. COLUMNS .. " FROM payouts WHERE provider = ? AND at >= ?"
    .. " AND at < ? ORDER BY at, id LIMIT ?", s.provider, db.at(s.from_at), db.at(s.to_at), limit)
end


function payouts.failed_before(p, limit)
  local rows, e = sql.query("SELECT reference FROM payouts WHERE provider = ? AND currency = ?"
    .. " AND state = 'failed' AND at <= ? AND id <> ? ORDER BY at DESC LIMIT ?", p.provider,
    p.currency, db.at(p.at), p.id, limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = row.reference end
  return rows
end


function payouts.items(p, opts)
  return settlement_items.page({ "provider = ?", "payout = ?" }, { p.provider, p.reference }, opts)
end


return payouts
