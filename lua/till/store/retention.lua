-- till/store/retention - carts, what they held and the flows of their completions are cleaned away
-- when nobody needs them any more.
--
--   run(within_ms [, rest_ms]) -> { carts =, reservations =, flows = }: how many went | nil, err
--
-- How old they have to be says conf (retention.*, in days; 0: never), by the database's clock as
-- well as by ours. What is needed stays, however old it is:
--
--   carts          that hold stock; of which a payment may become money, or is looked up still
--                  (till.store.doubts); whose completion runs, waits or is parked; that are being
--                  completed; completed ones whose order is not there
--   reservations   all but those that were let go of: what was sold says where an order's goods
--                  came from, and is what the stock's log is compared with
--   flows          of anything but checkout: a cancellation's is what a refund that fails months
--                  later is known by. Those that run, wait or are parked; those that staff had to
--                  do with; of orders those with a history, for their timeline shows it
--
-- Payments, orders and the log of stock are never cleaned away: they are the books.
--
-- Carts and flows are gone through in the order of their ids, which is that of their time, by
-- slices: no index is needed for it, which each change of a cart would pay for, and what stays is
-- read once a pass, not each minute. What goes is locked by its id for the moment of one
-- transaction; who has it locked keeps it to the next pass. After each slice comes a pause as long
-- as it took, and a pass that has come to what is young rests for an hour.
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local db = require "till.store.db"
local id = require "till.util.id"
local metrics = require "till.prim.metrics"
local carts = require "till.store.carts"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local retention = {}

local DAY_MS = 86400000
local SLICE = 200
local REST_MS = 3600000
local NEVER = "1970-01-02T00:00:00Z"

local passes = {} -- of this worker: kind -> { after =, next_ms = }


-- ---- how old ---------------------------------------------------------------------------------

-- -> fn(days [, least_ms]) -> DATETIME: what was changed last before then has had its time
local function ages()
  local row, e = sql.one("SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) AS ms")
  if not row then return nil, e end
  local now_ms = math.min(time.now_ms(), row.ms)
  return function(days, least_ms)
    if days == 0 then return db.at(NEVER) end
    return db.at_ms(now_ms - math.max(days * DAY_MS, least_ms or 0))
  end
end


-- How a request ended is told as long as its Idempotency-Key is kept.
local function replay_ms()
  return conf.get("idem.keep_hours") * 3600000
end


-- ---- slices ----------------------------------------------------------------------------------

local function ids_of(rows)
  local out = {}
  for i, row in ipairs(rows) do out[i] = sql.bytes(row.id) end
  return db.padded(out)
end


local function counted(kind, n)
  if n > 0 then metrics.add("till_purged_rows_total", { table = kind }, n) end
  return n
end


-- slice(after) -> how many went, where it ended or nil: there is nothing older | nil, err
local function go_through(kind, first, within, slice)
  local pass = passes[kind] or { after = first, next_ms = 0 }
  passes[kind] = pass
  local total, until_ms = 0, time.mono_ms() + within.ms
  if time.mono_ms() < pass.next_ms then return 0 end
  while true do
    local at = time.mono_ms()
    local n, last = slice(pass.after)
    if not n then return nil, last end
    total, pass.after = total + counted(kind, n), last or first
    local now = time.mono_ms()
    if not last then pass.next_ms = now + within.rest_ms end
    if not last or now >= until_ms or co.closing() then return total end
    if not time.sleep(math.max(1, now - at)) then return total end
  end
end


-- Of rows in the order of their time { is_old =, is_due = }: -> those that are due, the last one or
-- nil where none is old, or there are no more.
local function sorted(rows)
  local due, is_old = {}, false
  for _, row in ipairs(rows) do
    is_old = is_old or row.is_old == 1
    if row.is_due == 1 then due[#due + 1] = row end
  end
  return due, is_old and #rows == SLICE and rows[#rows] or nil
end


-- ---- carts -----------------------------------------------------------------------------------

local DUE = "updated_at < IF(state = 'completed', ?,"
  .. " IF(state <> 'merged' AND customer_id IS NOT NULL, ?, ?))"
local CARTS = "SELECT id, created_at < GREATEST(?, ?, ?) AS is_old, " .. DUE .. " AS is_due"
  .. " FROM carts WHERE id > ? ORDER BY id LIMIT ?"
local LOCK_CARTS = "SELECT id FROM carts FORCE INDEX (PRIMARY) WHERE id IN (%s) AND " .. DUE
  .. " AND NOT (state = 'completing' AND " .. carts.CLAIMED .. ") FOR UPDATE SKIP LOCKED"

-- Goods, money, and an order that is not there, or is there and the cart does not say so.
local NEEDED = "SELECT c.id FROM carts c WHERE c.id IN (%s) AND ("
  .. "EXISTS (SELECT 1 FROM reservations r WHERE r.cart_id = c.id AND (r.state = 'held'"
  .. " OR c.state <> 'completed' AND r.state IN ('sold', 'backordered')))"
  .. " OR EXISTS (SELECT 1 FROM payments p LEFT JOIN payment_doubts d ON d.payment_id = p.id"
  .. " WHERE p.cart_id = c.id AND p.order_id IS NULL AND (d.payment_id IS NOT NULL OR p.state"
  .. " NOT IN ('created', 'declined', 'failed', 'voided', 'refunded')"
  .. " OR c.state <> 'completed' AND p.updated_at >= GREATEST(?, ?, ?)))"
  .. " OR (c.state = 'completed') <> EXISTS (SELECT 1 FROM orders o WHERE o.cart_id = c.id))"
local IN_HAND = "SELECT aggregate FROM sagas WHERE name = 'checkout' AND aggregate IN (%s)"
  .. " AND state IN ('running', 'waiting', 'parked')"


-- -> { id of a cart = true } of those that stay | nil, err
local function needed(tx, rows, at)
  local args, names, out = ids_of(rows), {}, {}
  for i, row in ipairs(rows) do names[i] = id.text("cart", row.id) end
  db.padded(names)
  local text, n = sql.marks(#args), #args
  args[n + 1], args[n + 2], args[n + 3] = unpack(at)
  local list, e = tx:query(NEEDED:format(text), unpack(args))
  if not list then return nil, e end
  for _, row in ipairs(list) do out[row.id] = true end
  local busy, e2 = tx:query(IN_HAND:format(text), unpack(names))
  if not busy then return nil, e2 end
  for _, row in ipairs(busy) do out[id.bin("cart", row.aggregate)] = true end
  return out
end


local function delete(tx, rows, text, ...)
  if #rows == 0 then return 0 end
  local args, more = ids_of(rows), { ... }
  local marks, n = sql.marks(#args), #args
  for i, value in ipairs(more) do args[n + i] = value end
  local done, e = db.on(tx):exec(text:format(marks), unpack(args))
  if not done then return nil, e end
  return done.affected
end


-- Locked first: who comes back to one of them waits for the moment, and finds it as it is then.
local function drop_carts(due, at)
  if #due == 0 then return 0 end
  return sql.transaction(function(tx)
    local args = ids_of(due)
    local text, n = LOCK_CARTS:format(sql.marks(#args)), #args
    args[n + 1], args[n + 2], args[n + 3] = unpack(at)
    args[n + 4], args[n + 5] = carts.claim_bounds()
    local rows, e = tx:query(text, unpack(args))
    if not rows or #rows == 0 then return rows and 0, e end
    local stay, e2 = needed(tx, rows, at)
    if not stay then return nil, e2 end
    local go = {}
    for _, row in ipairs(rows) do
      if not stay[row.id] then go[#go + 1] = row end
    end
    return delete(tx, go, "DELETE c FROM carts c FORCE INDEX (PRIMARY) WHERE c.id IN (%s)")
  end)
end


local function cart_slice(age)
  local at = { age(conf.get("retention.completed_cart_days"), replay_ms()),
    age(conf.get("retention.customer_cart_days")), age(conf.get("retention.guest_cart_days")) }
  local done, customer, guest = unpack(at)
  return function(after)
    local rows, e = sql.query(CARTS, done, customer, guest, done, customer, guest,
      sql.bytes(after), SLICE)
    if not rows then return nil, e end
    local due, last = sorted(rows)
    local n, e2 = drop_carts(due, at)
    if not n then return nil, e2 end
    return n, last and last.id
  end
end


-- ---- what carts held -------------------------------------------------------------------------

local LET_GO = { "released", "expired" }


-- All of a state that are old go, so no place has to be remembered.
local function drop_reservations(age)
  local before = age(conf.get("retention.reservation_days"))
  return function(i)
    local state = LET_GO[i]
    local rows, e = sql.query("SELECT id FROM reservations FORCE INDEX (reservations_expiry)"
      .. " WHERE state = ? AND expires_at < ? ORDER BY expires_at LIMIT ?", state, before, SLICE)
    if not rows then return nil, e end
    local n, e2 = delete(nil, rows, "DELETE r FROM reservations r FORCE INDEX (PRIMARY)"
      .. " WHERE r.id IN (%s) AND r.state = ?", state)
    if not n then return nil, e2 end
    return n, #rows == SLICE and i or LET_GO[i + 1] and i + 1 or nil
  end
end


-- ---- flows -----------------------------------------------------------------------------------

local OVER = "s.state IN ('done', 'undone', 'failed') AND s.updated_at < ?"
local FLOWS = "SELECT s.id, s.created_at < ? AS is_old, s.name = 'checkout' AND " .. OVER
  .. " AND NOT EXISTS (SELECT 1 FROM saga_events e WHERE e.saga_id = s.id"
  .. " AND (s.state = 'done' OR e.type <> 'attempt')) AS is_due FROM sagas s"
  .. " WHERE s.id > ? ORDER BY s.id LIMIT ?"


local function drop_flows(due, before)
  if #due == 0 then return 0 end
  local args = {}
  for i, row in ipairs(due) do args[i] = row.id end
  db.padded(args)
  local marks, n = sql.marks(#args), #args
  args[n + 1] = before
  local done, e = sql.exec("DELETE s FROM sagas s FORCE INDEX (PRIMARY) WHERE s.id IN (" .. marks
    .. ") AND " .. OVER, unpack(args))
  if not done then return nil, e end
  return done.affected
end


local function flow_slice(age)
  local before = age(conf.get("retention.flow_days"), replay_ms())
  return function(after)
    local rows, e = sql.query(FLOWS, before, before, after, SLICE)
    if not rows then return nil, e end
    local due, last = sorted(rows)
    local n, e2 = drop_flows(due, before)
    if not n then return nil, e2 end
    return n, last and last.id
  end
end


-- ---- all of it -------------------------------------------------------------------------------

local KINDS = {
  { name = "carts", first = ("\0"):rep(16), slice = cart_slice },
  { name = "reservations", first = 1, slice = drop_reservations },
  { name = "flows", first = 0, slice = flow_slice },
}


function retention.run(within_ms, rest_ms)
  local age, e = ages()
  if not age then return nil, e end
  local within, out = { ms = within_ms / #KINDS, rest_ms = rest_ms or REST_MS }, {}
  for _, kind in ipairs(KINDS) do
    local n, e2 = go_through(kind.name, kind.first, within, kind.slice(age))
    if not n then return nil, e2 end
    out[kind.name] = n
  end
  return out
end


return retention
