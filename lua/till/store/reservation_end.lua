-- till/store/reservation_end - reservations that hold nothing any more: let go of, or over.
--
--   lock(tx, cart_id) -> rows | nil, err, let_go(tx, rows, state), release(tx, cart_id)
--   set_state(tx, rows, state), give_back(tx, rows, state)     let_go in two; what contradicts the
--                     tables ends all the same, and is told of (till.store.stock_blocked)
--   expire(limit, within_ms) -> how many ended | nil, err
--   FROM, OVER, over_args(...)     of a query for those that are over
--
-- One that the tables refuse to give back (its row of stock says that less is reserved) keeps no
-- others from ending, and no cart from going on. By the job: the batch is halved down to it, and it
-- is passed over for a while, for nobody waits for it. Where a cart lets go of it, it ends, and its
-- row becomes what is held of it. Either way staff are told (till.store.stock_blocked).
local blocked = require "till.store.stock_blocked"
local carts = require "till.store.carts"
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local time = require "till.prim.time"
local units = require "till.store.units"

local ending = {}

local AT_ONCE = 1000 -- a statement takes 2000 parameters

-- What is locked is what is read: a scan of a small table would wait for everybody. So the index is
-- named.
ending.FROM = "SELECT r.id, r.cart_id, r.variant_id, r.location_id, r.quantity, r.bundle_id,"
  .. " r.per_unit, COALESCE(r.held_since, r.created_at) AS since FROM reservations r"
  .. " FORCE INDEX (%s) "
-- What nobody completes just now. The table of carts is not locked by it.
ending.OVER = "r.state = 'held' AND r.expires_at < ? AND NOT EXISTS (SELECT 1 FROM carts c"
  .. " WHERE c.id = r.cart_id AND c.state = 'completing' AND c." .. carts.CLAIMED .. ")"


function ending.over_args(...)
  local now, longest = carts.claim_bounds()
  return now, now, longest, ...
end


function ending.lock(tx, cart_id)
  return tx:query(ending.FROM:format "reservations_cart" .. "WHERE r.cart_id = ?"
    .. " AND r.state = 'held' ORDER BY r.variant_id, r.id FOR UPDATE", db.bin("cart", cart_id))
end


function ending.set_state(tx, rows, state)
  for from = 1, #rows, AT_ONCE do
    local ids = {}
    for i = from, math.min(#rows, from + AT_ONCE - 1) do ids[#ids + 1] = sql.bytes(rows[i].id) end
    db.padded(ids)
    local ok, e = tx:exec("UPDATE reservations SET state = ? WHERE id IN (" .. sql.marks(#ids)
      .. ")", state, unpack(ids))
    if not ok then return nil, e end
  end
  return true
end


local function log_ended(tx, rows, state)
  local events = {}
  for i, row in ipairs(rows) do
    events[i] = { variant = row.variant_id, location = row.location_id, type = state,
      quantity = row.quantity, reserved = -row.quantity,
      reference = id.text("cart", row.cart_id) }
  end
  return stock_log.add(tx, events)
end


-- The units of rows that hold none, or fewer, from now on; the rows of stock last.
function ending.give_back(tx, rows, state)
  if #rows == 0 then return true end
  local refused = {}
  local ok, e = log_ended(tx, rows, state)
  if ok then ok, e = units.let_go(tx, rows, refused) end
  if not ok or #refused == 0 then return ok, e end
  local cart = id.text("cart", rows[1].cart_id)
  return blocked.put_right(tx, refused, cart, { cart_id = cart })
end


-- Gives back reservations that this transaction has locked.
function ending.let_go(tx, rows, state)
  local ok, e = ending.set_state(tx, rows, state)
  if not ok then return nil, e end
  return ending.give_back(tx, rows, state)
end


-- All of them or none.
local function expire_all(tx, rows)
  if #rows == 0 then return true end
  local ok, e = ending.set_state(tx, rows, "expired")
  if ok then ok, e = log_ended(tx, rows, "expired") end
  if ok then ok, e = units.let_go(tx, rows) end
  return ok, e
end


function ending.release(tx, cart_id)
  local rows, e = ending.lock(tx, cart_id)
  if not rows then return nil, e end
  return ending.let_go(tx, rows, "released")
end


-- ---- time ----------------------------------------------------------------------------------

--- One transaction for some, the oldest first; what somebody else has locked is left to him or to
-- the next time. A SKU of which many end is changed once.
-- -> how many | nil, err, the rows
local function expire_some(limit)
  local rows
  local n, e = sql.transaction(function(tx)
    local why
    rows, why = tx:query(ending.FROM:format "reservations_expiry" .. "WHERE " .. ending.OVER
      .. " ORDER BY r.expires_at LIMIT ? FOR UPDATE SKIP LOCKED", ending.over_args(limit))
    if not rows then return nil, why end
    local ok, e2 = expire_all(tx, rows)
    if not ok then return nil, e2 end
    return #rows
  end)
  return n, e, rows
end


-- It is as if it ended later: nobody who is short of the SKU stumbles over it meanwhile.
local function pass_over(row, why)
  return sql.transaction(function(tx)
    local done, e = tx:exec("UPDATE reservations SET expires_at = ? WHERE id = ?"
      .. " AND state = 'held'", db.now(blocked.TRY_AGAIN_MS), sql.bytes(row.id))
    if not done then return nil, e end
    return blocked.tell(tx, row, why, { cart_id = id.text("cart", row.cart_id) })
  end)
end


-- -> how many, are there more? | nil, err
local function expire_or_halve(limit)
  local n, e, rows = expire_some(limit)
  if n then return n, n == limit end
  if not blocked.is(e) or #rows == 0 then return nil, e end
  if #rows > 1 then
    local some, e2 = expire_or_halve(math.floor(#rows / 2))
    return some, some and true or e2
  end
  local passed, e3 = pass_over(rows[1], e)
  if not passed then return nil, e3 end
  return 0, true
end


--- However many end at once, shoppers get the database between two transactions: after each comes
-- a pause as long as it took.
function ending.expire(limit, within_ms)
  local began, total = time.mono_ms(), 0
  while true do
    local at = time.mono_ms()
    local n, more = expire_or_halve(limit)
    if not n then return nil, more end
    total = total + n
    local now = time.mono_ms()
    if not more or now - began >= within_ms or not time.sleep(math.max(1, now - at)) then
      return total
    end
  end
end


return ending
