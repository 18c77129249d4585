-- till/store/payments - attempts to be paid. One row for each time a provider is asked; the state
-- moves only along `till.flow.payment`'s table, by an UPDATE that names the state it comes from.
-- Whatever changes state or amounts adds its event (till.store.payment_events) in the same
-- transaction: the row is what the events come to.
--
--   create(tx, fields) -> payment
--   get(id [, tx]), of_cart(cart_id [, tx]) -> newest first, of_order(order_id [, tx])
--   move(tx, id, from, to, fields) -> true | false when it was not in `from` (or the fence is old)
--   send(script, payment, fence)   from `created` to `sending`; refused (MOVED) where it is not as
--                                 it was read, or another attempt for the cart may still become
--                                 money
--   authorize(script, payment, order_id, fields)   from `sending` to `authorized`, with its order;
--                                 refused (MOVED) where it is not there, or was let go of
--   attach(script, payment, order_id [, state])   refused (MOVED) where it is not as it was read.
--                                                 `state`: from `created` to that; refused also
--                                                 where another attempt for the cart may still
--                                                 become money
--   list{…}, by_ref(provider, ref), open(before_ms, limit)
--   to_capture(p) -> amount        less what was cancelled
--   was_captured(p) -> boolean     whatever became of that money since
--   left(p) -> amount              that may be captured, or let go of, still; also of one that is
--                                  disputed, or was: a bank has taken back what was captured
--   nothing_left(ids) -> { id = true } of those of which nothing may be captured any more
--   release(tx, id, amount), intend(tx, id, amount), refund(tx, id, amount)   its amounts; under
--                                  the lock of its order
--   lock(tx, id) -> payment | false | nil, err     after that of its order
--   orders_of(tx, ids) -> { id -> order_id }, of those that have one
--   lock_of_orders(tx, order_ids) -> { order id -> payments, newest first }    after the orders
--   project(tx, id, seen)          what its events come to, as till.prim.attempt has it
--   projected(p, seen) -> the row after that
--   decline(p [, tx])              it was declined for good, under the key that p gives it: what
--                                  was intended is over, the next one has another key. What
--                                  somebody intends under another key or amount stays
local db = require "till.store.db"
local events = require "till.store.payment_events"
local id = require "till.util.id"
local page = require "till.store.page"
local script = require "till.store.script"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local payments = {}

payments.MOVED = "moved"
payments.LIVE = "('created', 'sending', 'unknown', 'requires_action', 'authorized',"
  .. " 'captured', 'won')"

local COLUMNS = "id, cart_id, order_id, provider, state, currency, amount, idem_key, provider_ref,"
  .. " reason, action, data, released_amount, capture_amount, refunded_amount, capture_declines,"
  .. " disputed_amount, lost_amount, authorization_expires_at, created_at, updated_at"


local function to_payment(row)
  return {
    id = id.text("pay", row.id), cart_id = db.text("cart", row.cart_id),
    order_id = db.text("ord", row.order_id), provider = row.provider, state = row.state,
    currency = row.currency, amount = row.amount, idem_key = row.idem_key,
    provider_ref = row.provider_ref, reason = row.reason, action = db.json(row.action),
    data = db.json(row.data) or {}, released_amount = row.released_amount,
    capture_amount = row.capture_amount, refunded_amount = row.refunded_amount,
    capture_declines = row.capture_declines, disputed_amount = row.disputed_amount,
    lost_amount = row.lost_amount, authorization_expires_at = row.authorization_expires_at,
    created_at = row.created_at, updated_at = row.updated_at,
  }
end


--- What was, or is to be, captured of it.
function payments.to_capture(p)
  return p.capture_amount or p.amount - (p.released_amount or 0)
end


local CAPTURED = { captured = true, refunded = true, disputed = true, won = true, lost = true }


function payments.was_captured(p)
  return CAPTURED[p.state] or false
end


function payments.left(p)
  local rest = p.amount - (p.released_amount or 0)
  if p.state == "authorized" then return rest end
  if p.state == "refunded" or not CAPTURED[p.state] then return 0 end
  return math.max(0, rest - payments.to_capture(p))
end


payments.COLUMNS, payments.of_row = COLUMNS, to_payment
payments.HAS_LEFT = "(state = 'authorized' AND released_amount < amount OR state IN ('captured',"
  .. " 'disputed', 'won', 'lost') AND COALESCE(capture_amount, amount) + released_amount < amount)"


function payments.nothing_left(ids)
  return db.ids_of("pay", "SELECT id FROM payments WHERE id IN (%s) AND NOT " .. payments.HAS_LEFT,
    ids)
end


local function all(rows, e)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_payment(row) end
  return rows
end


--- tx may be a script: it runs when that does.
function payments.create(tx, f)
  local payment_id, now_ms = id.new("pay"), time.now_ms()
  local ok, e = db.insert(tx, "INSERT INTO payments (id, cart_id, order_id, provider, state,"
    .. " currency, amount, idem_key, data, created_at, updated_at)"
    .. " VALUES (?, ?, ?, ?, 'created', ?, ?, ?, ?, ?, ?)", db.bin("pay", payment_id),
    db.bin("cart", f.cart_id), db.bin("ord", f.order_id), f.provider, f.currency, f.amount,
    payment_id, db.to_json(f.data or {}), db.at_ms(now_ms), db.at_ms(now_ms))
  if ok then ok, e = events.created(tx, payment_id, f.amount, db.at_ms(now_ms)) end
  if not ok then return nil, e end
  local at = time.rfc3339(now_ms)
  return { id = payment_id, cart_id = f.cart_id, order_id = f.order_id, provider = f.provider,
    state = "created", currency = f.currency, amount = f.amount, idem_key = payment_id,
    data = db.given(f.data) or {}, created_at = at, updated_at = at }
end


function payments.get(payment_id, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM payments WHERE id = ?",
    db.bin("pay", payment_id))
  if not row then return row, e end
  return to_payment(row)
end


function payments.lock(tx, payment_id)
  local row, e = tx:one("SELECT " .. COLUMNS .. " FROM payments WHERE id = ? FOR UPDATE",
    db.bin("pay", payment_id))
  if not row then return row, e end
  return to_payment(row)
end


function payments.orders_of(tx, payment_ids)
  local bins = db.bins("pay", payment_ids)
  local rows, e = tx:query("SELECT id, order_id FROM payments FORCE INDEX (PRIMARY) WHERE id IN ("
    .. sql.marks(#bins) .. ") AND order_id IS NOT NULL", unpack(bins))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[id.text("pay", row.id)] = id.text("ord", row.order_id) end
  return out
end


function payments.lock_of_orders(tx, order_ids)
  local bins = db.bins("ord", order_ids)
  local list, e = all(tx:query("SELECT " .. COLUMNS .. " FROM payments FORCE INDEX"
    .. " (payments_order) WHERE order_id IN (" .. sql.marks(#bins) .. ") ORDER BY id DESC"
    .. " FOR UPDATE", unpack(bins)))
  return list and db.group(list, "order_id"), e
end


function payments.of_cart(cart_id, tx)
  return all(db.on(tx):query("SELECT " .. COLUMNS .. " FROM payments WHERE cart_id = ?"
    .. " ORDER BY id DESC", db.bin("cart", cart_id)))
end


function payments.of_order(order_id, tx)
  return all(db.on(tx):query("SELECT " .. COLUMNS .. " FROM payments WHERE order_id = ?"
    .. " ORDER BY id DESC", db.bin("ord", order_id)))
end


function payments.by_ref(provider, ref)
  local row, e = sql.one("SELECT " .. COLUMNS .. " FROM payments WHERE provider = ?"
    .. " AND provider_ref = ? ORDER BY id DESC LIMIT 1", provider, ref)
  if not row then return row, e end
  return to_payment(row)
end


local function value(v)
  if v == nil then return sql.null end
  return v
end


local MOVE = "UPDATE payments SET state = ?,"
  .. " provider_ref = COALESCE(?, provider_ref), reason = ?, action = ?,"
  .. " data = COALESCE(?, data), fence = GREATEST(fence, ?),"
  .. " capture_amount = IF(? = 'captured', COALESCE(capture_amount, amount - released_amount),"
  .. " capture_amount), refunded_amount = IF(? = 'refunded', COALESCE(capture_amount, amount),"
  .. " refunded_amount),"
  .. " authorization_expires_at = COALESCE(?, authorization_expires_at), updated_at = ?"
  .. " WHERE id = ? AND state = ? AND fence <= ?"
local EVENT = { sending = "send", failed = "not_found" } -- others are called as their state


local function params_of(payment_id, from, to, f)
  return to, value(f.provider_ref), f.reason and f.reason:sub(1, 255) or sql.null,
    db.to_json(f.action), db.to_json(f.data), f.fence or 0, to, to,
    db.at(f.authorization_expires_at), db.now(), db.bin("pay", payment_id), from,
    f.fence or 2 ^ 53 - 1
end


-- By itself it is one round trip and one transaction all the same.
local function move_alone(payment_id, from, to, f)
  local s = script.new()
  s:must(payments.MOVED, 1, MOVE, params_of(payment_id, from, to, f))
  events.moved(s, payment_id, EVENT[to] or to, f)
  local row, e = s:run()
  if row == nil then return nil, e end
  return row ~= false
end


function payments.move(tx, payment_id, from, to, f)
  f = f or {}
  if not tx then return move_alone(payment_id, from, to, f) end
  local done, e = tx:exec(MOVE, params_of(payment_id, from, to, f))
  if not done then return nil, e end
  if done.affected ~= 1 then return false end
  local ok, e2 = events.moved(tx, payment_id, EVENT[to] or to, f)
  if not ok then return nil, e2 end
  return true
end


--- Less of it will be captured.
function payments.release(tx, payment_id, amount)
  local ok, e = tx:exec("UPDATE payments SET released_amount = released_amount + ?,"
    .. " updated_at = ? WHERE id = ?", amount, db.now(), db.bin("pay", payment_id))
  if not ok then return nil, e end
  return events.let_go(tx, payment_id, amount)
end


--- What the provider is about to be asked for. Of less than all the rest is held on: its end is
--- looked at also where nothing was planned yet (till.store.authorizations).
function payments.intend(tx, payment_id, amount)
  return tx:exec("UPDATE payments SET capture_amount = ?, updated_at = ?, authorization_look_at ="
    .. " IF(? < amount, COALESCE(authorization_look_at, ?), authorization_look_at) WHERE id = ?"
    .. " AND state = 'authorized'", amount, db.now(), amount, db.now(), db.bin("pay", payment_id))
end


--- It has refused that.
function payments.decline(p, tx)
  return db.on(tx):exec("UPDATE payments SET capture_amount = NULL,"
    .. " capture_declines = capture_declines + 1, updated_at = ? WHERE id = ?"
    .. " AND state = 'authorized' AND capture_amount = ? AND capture_declines = ?", db.now(),
    db.bin("pay", p.id), p.capture_amount, p.capture_declines)
end


function payments.refund(tx, payment_id, amount)
  local ok, e = tx:exec("UPDATE payments SET refunded_amount = refunded_amount + ?,"
    .. " updated_at = ? WHERE id = ?", amount, db.now(), db.bin("pay", payment_id))
  if not ok then return nil, e end
  return events.part(tx, payment_id, "refunded", amount)
end


function payments.project(tx, payment_id, seen)
  return tx:exec("UPDATE payments SET state = ?, released_amount = GREATEST(released_amount, ?),"
    .. " capture_amount = IF(? > 0, ?, capture_amount), refunded_amount = ?, disputed_amount = ?,"
    .. " lost_amount = ?, updated_at = ? WHERE id = ?", seen.state, seen.voided, seen.captured,
    seen.captured, seen.refunded, seen.disputed, seen.lost, db.now(), db.bin("pay", payment_id))
end


--- The row as project() leaves it.
function payments.projected(p, seen)
  local out = {}
  for name, it in pairs(p) do out[name] = it end
  out.state, out.refunded_amount = seen.state, seen.refunded
  out.released_amount = math.max(p.released_amount or 0, seen.voided)
  if seen.captured > 0 then out.capture_amount = seen.captured end
  out.disputed_amount, out.lost_amount = seen.disputed, seen.lost
  return out
end


-- No other attempt for the cart may still become money.
local ALONE = { "SELECT 1 INTO @till_alone FROM payments FORCE INDEX (payments_cart) WHERE (",
  "cart_id = ? AND id <> ?", " OR ", ") AND state IN " .. payments.LIVE .. " HAVING COUNT(*) = 0" }


function payments.attach(s, p, order_id, state)
  if not state then
    return s:must(payments.MOVED, 1, "UPDATE payments SET order_id = ? WHERE id = ?"
      .. " AND state = ? AND JSON_VALUE(data, '$.till.let_go') IS NULL AND capture_amount <=> ?"
      .. " AND refunded_amount = ? AND disputed_amount = ? AND lost_amount = ?",
      db.bin("ord", order_id), db.bin("pay", p.id), p.state, value(p.capture_amount),
      p.refunded_amount, p.disputed_amount, p.lost_amount)
  end
  s:each(payments.MOVED, ALONE, db.bin("cart", p.cart_id), db.bin("pay", p.id))
  events.at_once(s, p.id, state, p.amount)
  return s:must(payments.MOVED, 1, "UPDATE payments FORCE INDEX (PRIMARY) SET order_id = ?,"
    .. " state = ?, provider_ref = ?, updated_at = ? WHERE id = ? AND state = 'created'",
    db.bin("ord", order_id), state, value(p.provider_ref), db.now(), db.bin("pay", p.id))
end


function payments.send(s, p, fence)
  s:each(payments.MOVED, ALONE, db.bin("cart", p.cart_id), db.bin("pay", p.id))
  s:must(payments.MOVED, 1, MOVE, params_of(p.id, "created", "sending", { fence = fence }))
  events.moved(s, p.id, EVENT.sending, {})
end


local AUTHORIZE = MOVE:gsub("SET ", "SET order_id = ?, ", 1)
  .. " AND JSON_VALUE(data, '$.till.let_go') IS NULL"


function payments.authorize(s, p, order_id, f)
  s:must(payments.MOVED, 1, AUTHORIZE, db.bin("ord", order_id),
    params_of(p.id, "sending", "authorized", f))
  events.moved(s, p.id, "authorized", f)
end


function payments.list(opts)
  local where, args = {}, {}
  if opts.state then where[1], args[1] = "state = ?", opts.state end
  if opts.order_id then
    where[#where + 1], args[#args + 1] = "order_id = ?", db.bin("ord", opts.order_id)
  end
  return all(page.rows { select = COLUMNS, from = "payments", where = where, args = args,
    id = "id", prefix = "pay", opts = opts, newest_first = true })
end


--- Attempts without an answer, for whoever looks them up.
function payments.open(before_ms, limit)
  return all(sql.query("SELECT " .. COLUMNS .. " FROM payments"
    .. " WHERE state IN ('sending', 'unknown')"
    .. " AND updated_at < ? ORDER BY updated_at LIMIT ?", db.at_ms(before_ms), limit))
end


return payments
