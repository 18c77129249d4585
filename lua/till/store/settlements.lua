-- till/store/settlements - comparisons of providers' accounts with our books.
--
--   begin(tx, { provider, from_ms, to_ms, actor }) -> id | nil, err(conflict: one is under way)
--   get(id [, tx]) -> settlement | false          list(opts) newest first; opts.provider
--   last_daily(provider) -> settlement | false    that nobody asked for, and is done
--   waiting(limit) -> ids that nobody is at
--   claim(id, lease_ms) -> settlement | false     false: it is done, or somebody is at it
--   keep(s, lease_ms) -> is it still ours?
--   finish(s, state, error) -> was it ours?       put_off(s, error)  somebody tries again later
--   weighed(s, balances)                          at its end: what the account has, here and there
--   resolved(s)                                   one more payment whose outcome was found out
--   to_resolve(s, after, limit) -> payments of the period without an outcome, or without an order
--                                 though there is money; by id
--   settled_payments(ids) -> { id = true } of those that have an order, or are no money any more
-- Claims go by the database's clock: a worker's that is ahead would take what others are at.
-- Items, and what is compared with them, are till.store.settlement_items'.
local conf = require "till.prim.conf"
local db = require "till.store.db"
local err = require "till.util.err"
local json = require "till.prim.json"
local page = require "till.store.page"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local settlements = {}

local COLUMNS = "id, provider, state, from_at, to_at, claim, resolved, tries, error, actor,"
  .. " started_at, finished_at, balances"
local FREE = "state = 'running' AND (claimed_until IS NULL OR claimed_until < NOW(3))"
local LEASE = "NOW(3) + INTERVAL ? MICROSECOND"


function settlements.begin(tx, s)
  local made, e = db.on(tx):exec("INSERT INTO settlements (provider, from_at, to_at, actor,"
    .. " started_at) VALUES (?, ?, ?, ?, ?)", s.provider, db.at_ms(s.from_ms), db.at_ms(s.to_ms),
    s.actor or "system", db.now())
  if made then return made.insert_id end
  if err.is(e, "duplicate") then
    return nil, err.new("conflict", ("a reconciliation with %s is under way; wait for its end")
      :format(s.provider))
  end
  return nil, e
end


function settlements.get(settlement_id, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM settlements WHERE id = ?",
    settlement_id)
  if row then row.balances = db.json(row.balances) end
  return row, e
end


function settlements.list(opts)
  return page.rows { select = COLUMNS, from = "settlements", id = "id", opts = opts,
    where = opts.provider and { "provider = ?" } or {},
    args = opts.provider and { opts.provider } or {}, newest_first = true }
end


function settlements.last_daily(provider)
  return sql.one("SELECT " .. COLUMNS .. " FROM settlements WHERE provider = ? AND state = 'done'"
    .. " AND actor = 'system' ORDER BY id DESC LIMIT 1", provider)
end


function settlements.waiting(limit)
  local rows, e = sql.query("SELECT id FROM settlements WHERE " .. FREE .. " ORDER BY id LIMIT ?",
    limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = row.id end
  return rows
end


function settlements.claim(settlement_id, lease_ms)
  local done, e = sql.exec("UPDATE settlements SET claim = LAST_INSERT_ID(claim + 1),"
    .. " claimed_until = " .. LEASE .. ", tries = tries + 1 WHERE id = ? AND " .. FREE,
    lease_ms * 1000, settlement_id)
  if not done then return nil, e end
  if done.affected == 0 then return false end
  local row, e2 = settlements.get(settlement_id)
  if not row then return nil, e2 end
  if row.claim ~= done.insert_id then return false end
  row.from_ms, row.to_ms = time.parse(row.from_at), time.parse(row.to_at)
  return row
end


local function ours(s, set, ...)
  local args = { ... }
  args[#args + 1] = s.id
  args[#args + 1] = s.claim
  local done, e = sql.exec("UPDATE settlements SET " .. set .. " WHERE id = ? AND claim = ?"
    .. " AND state = 'running'", unpack(args))
  if not done then return nil, e end
  return done.affected == 1
end


function settlements.keep(s, lease_ms)
  -- two within a millisecond would else change nothing, and look as if it were another's
  return ours(s, "claimed_until = GREATEST(" .. LEASE
    .. ", claimed_until + INTERVAL 1000 MICROSECOND)", lease_ms * 1000)
end


function settlements.finish(s, state, why)
  return ours(s, "state = ?, is_open = NULL, error = ?, finished_at = ?, claimed_until = NULL",
    state, why and tostring(why):sub(1, 255) or sql.null, db.now())
end


function settlements.put_off(s, why)
  return ours(s, "error = ?, claimed_until = NULL", tostring(why):sub(1, 255))
end


function settlements.weighed(s, balances)
  return ours(s, "balances = ?", db.to_json(json.array(balances)))
end


function settlements.resolved(s)
  return ours(s, "resolved = resolved + 1")
end


function settlements.settled_payments(ids)
  return db.ids_of("pay", "SELECT id FROM payments WHERE id IN (%s) AND (order_id IS NOT NULL"
    .. " OR state IN ('declined', 'failed', 'voided', 'refunded'))", ids)
end


--- One that is being asked for just now is left out: to ask about it would shut it.
function settlements.to_resolve(s, after, limit)
  local rows, e = sql.query("SELECT " .. payments.COLUMNS .. " FROM payments WHERE provider = ?"
    .. " AND created_at >= ? AND created_at < ? AND id > ?"
    .. " AND (state IN ('unknown', 'requires_action') OR state = 'sending' AND updated_at < ?"
    .. " OR state IN ('authorized', 'captured') AND order_id IS NULL) ORDER BY id LIMIT ?",
    s.provider, db.at_ms(s.from_ms), db.at_ms(s.to_ms),
    after and db.bin("pay", after) or sql.bytes(("\0"):rep(16)),
    db.at_ms(time.now_ms() - conf.get("payments.not_found_after_ms")), limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = payments.of_row(row) end
  return rows
end


return settlements
