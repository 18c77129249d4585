-- till/store/settlement_items - movements of money at providers, and what they are in our books.
--
--   lock(tx, provider, reference) -> item | false
--   begin(tx, item) -> item, locked     as put has it, of what is in no event of ours: it is there
--                              now, whoever else is at it
--   put(tx, item)              { provider, reference, kind, source, payment_id, seq, currency,
--                              amount, fee, verdict, detail, fee_booked, at_ms, settlement_id }
--   events(tx, payment_id, kind, item_id) -> { { seq, amount, reference, fee, at }, … } of that
--                              kind that are no other item's
--   set_fee(tx, payment_id, seq, fee)    of an event that has none yet
--   unmatched(s, limit) -> events of the period that are no item's, up to s.read_ms
--   list_missing(s, rows)      those are the items `missing_there` of its period, and no others
--   totals(s) -> { { currency, kind, verdict, count, amount, fee, booked }, … } of its period;
--                              booked: the sum of the events that they are
--   list(s, verdict, limit) -> items of its period, oldest first
--   page(where, args, opts) -> items, a page of till.store.page
--   known(provider, references) -> { reference = true } of those that are there
-- `s` is a settlement of till.store.settlements with from_ms and to_ms.
local db = require "till.store.db"
local id = require "till.util.id"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local items = {}

local COLUMNS = "id, reference, kind, source, payment_id, seq, currency, amount, fee, verdict,"
  .. " detail, fee_booked, at, payout"
-- Kinds of events that move an amount of it.
local MONEY = "('captured', 'refunded', 'refund_failed', 'disputed')"


local function to_item(row)
  row.payment_id, row.detail = db.text("pay", row.payment_id), db.json(row.detail)
  return row
end


local function value(v)
  if v == nil then return sql.null end
  return v
end


function items.lock(tx, provider, reference)
  local row, e = tx:one("SELECT " .. COLUMNS .. " FROM settlement_items WHERE provider = ?"
    .. " AND reference = ? FOR UPDATE", provider, reference)
  if not row then return row, e end
  return to_item(row)
end


-- A row that is not there cannot be locked, and two would book what it is at the same time.
function items.begin(tx, i)
  local ok, e = tx:exec("INSERT IGNORE INTO settlement_items (provider, reference, kind, source,"
    .. " currency, amount, fee, verdict, detail, at, settlement_id)"
    .. " VALUES (?, ?, ?, ?, ?, ?, ?, ?, '{}', ?, ?)", i.provider, i.reference, i.kind,
    value(i.source), i.currency, i.amount, i.fee, i.verdict, db.at_ms(i.at_ms), i.settlement_id)
  if not ok then return nil, e end
  return items.lock(tx, i.provider, i.reference)
end


function items.put(tx, i)
  return tx:exec("INSERT INTO settlement_items (provider, reference, kind, source, payment_id, seq,"
    .. " currency, amount, fee, verdict, detail, fee_booked, at, settlement_id)"
    .. " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE"
    .. " kind = VALUES(kind), payment_id = VALUES(payment_id), seq = VALUES(seq),"
    .. " verdict = VALUES(verdict), detail = VALUES(detail),"
    .. " fee_booked = GREATEST(fee_booked, VALUES(fee_booked)),"
    .. " settlement_id = VALUES(settlement_id)", i.provider, i.reference, i.kind, value(i.source),
    db.bin("pay", i.payment_id), value(i.seq), i.currency, i.amount, i.fee, i.verdict,
    db.to_json(i.detail or {}), i.fee_booked and 1 or 0, db.at_ms(i.at_ms), i.settlement_id)
end


function items.events(tx, payment_id, kind, item_id)
  return tx:query("SELECT e.seq, e.amount, e.reference, e.fee, e.at FROM payment_events e"
    .. " LEFT JOIN settlement_items i ON i.payment_id = e.payment_id AND i.seq = e.seq"
    .. " WHERE e.payment_id = ? AND e.kind = ? AND (i.id IS NULL OR i.id = ?) ORDER BY e.seq",
    db.bin("pay", payment_id), kind, item_id or 0)
end


function items.set_fee(tx, payment_id, seq, fee)
  return tx:exec("UPDATE payment_events SET fee = ? WHERE payment_id = ? AND seq = ?"
    .. " AND fee IS NULL", fee, db.bin("pay", payment_id), seq)
end


function items.unmatched(s, limit)
  local rows, e = sql.query("SELECT e.payment_id, e.seq, e.kind, e.amount, e.reference, e.at,"
    .. " p.currency, p.order_id FROM payment_events e JOIN payments p ON p.id = e.payment_id"
    .. " LEFT JOIN settlement_items i ON i.payment_id = e.payment_id AND i.seq = e.seq"
    .. " WHERE p.provider = ? AND e.kind IN " .. MONEY .. " AND e.at >= ? AND e.at < ?"
    .. " AND e.amount > 0 AND i.id IS NULL ORDER BY e.at LIMIT ?",
    s.provider, db.at_ms(s.from_ms), db.at_ms(math.min(s.to_ms, s.read_ms or s.to_ms)), limit)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    row.payment_id, row.order_id = id.text("pay", row.payment_id), db.text("ord", row.order_id)
  end
  return rows
end


function items.list_missing(s, rows)
  return sql.transaction(function(tx)
    local ok, e = tx:exec("DELETE FROM settlement_items WHERE provider = ?"
      .. " AND verdict = 'missing_there' AND at >= ? AND at < ?", s.provider, db.at_ms(s.from_ms),
      db.at_ms(s.to_ms))
    if not ok then return nil, e end
    for _, row in ipairs(rows) do
      ok, e = tx:exec("INSERT INTO settlement_items (provider, reference, kind, source, payment_id,"
        .. " currency, amount, verdict, detail, at, settlement_id)"
        .. " VALUES (?, ?, ?, ?, ?, ?, ?, 'missing_there', ?, ?, ?)", s.provider,
        row.payment_id .. ":" .. row.seq, row.kind, value(row.reference),
        db.bin("pay", row.payment_id), row.currency, row.amount,
        db.to_json { order_id = row.order_id }, db.at(row.at), s.id)
      if not ok then return nil, e end
    end
    return true
  end)
end


function items.totals(s)
  return sql.query("SELECT i.currency, i.kind, i.verdict, COUNT(*) AS count,"
    .. " CAST(SUM(i.amount) AS SIGNED) AS amount, CAST(SUM(i.fee) AS SIGNED) AS fee,"
    .. " CAST(COALESCE(SUM(e.amount), 0) AS SIGNED) AS booked FROM settlement_items i"
    .. " LEFT JOIN payment_events e ON e.payment_id = i.payment_id AND e.seq = i.seq"
    .. " WHERE i.provider = ? AND i.at >= ? AND i.at < ? GROUP BY i.currency, i.kind, i.verdict"
    .. " ORDER BY i.currency, i.kind, i.verdict", s.provider, db.at(s.from_at), db.at(s.to_at))
end


function items.list(s, verdict, limit)
  local rows, e = sql.query("SELECT " .. COLUMNS .. " FROM settlement_items WHERE provider = ?"
    .. " AND verdict = ? AND at >= ? AND at < ? ORDER BY at, id LIMIT ?", s.provider, verdict,
    db.at(s.from_at), db.at(s.to_at), limit)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_item(row) end
  return rows
end


function items.page(where, args, opts)
  local rows, e = page.rows { select = COLUMNS, from = "settlement_items",
    id = "id", where = where, args = args, opts = opts }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do to_item(row) end
  return rows
end


function items.known(provider, references)
  if #references == 0 then return {} end
  local args = db.padded(references)
  local rows, e = sql.query("SELECT reference FROM settlement_items WHERE provider = ?"
    .. " AND reference IN (" .. sql.marks(#args) .. ")", provider, unpack(args))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[row.reference] = true end
  return out
end


return items
