-- till/store/hold_time - until when carts hold what they hold, and for how long at most.
--
--   extend(cart_id, until_ms [, most_ms [, variants]])     held ones only; most_ms: of each no
--                                  longer than that from when the cart began to hold of it;
--                                  variants: ids of those that are meant
--   extend_in(tx, cart_id, until_ms [, most_ms])   the same in a transaction
--   extend_with(script, cart_id, until_ms, n)   refused where it is not n rows that gain by it
--   shorten(cart_id, until_ms, most_ms)   to what it is by itself: whoever held it longer is done
--   ends_at(tx, cart_id) -> time   of what ends first
--   bounded(rows, until_ms, most_ms) -> ms, since    for what is held instead of these rows
--
-- `reservations.held_since` is when the cart began, where that was before the row was made.
local db = require "till.store.db"
local script = require "till.store.script"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local hold_time = {}

local MIN_GAIN_MS = 60000 -- less is not worth a line in the log
-- Of a row that begins at its bound there is nothing to be gained.
local FOR_EVER_MS = 100 * 365 * 86400000
local BOUND = "TIMESTAMPADD(MICROSECOND, ?, COALESCE(held_since, created_at))"
local GAINS = " WHERE cart_id = ? AND state = 'held' AND expires_at < LEAST(?, "
  .. BOUND:gsub("%?", "? - " .. MIN_GAIN_MS * 1000) .. ")"
local EXTEND = "UPDATE reservations SET expires_at = LEAST(?, " .. BOUND .. ")" .. GAINS .. "%s"
local EXTENDED = "INSERT INTO stock_events (variant_id, location_id, type, quantity,"
  .. " on_hand_delta, reserved_delta, reference, at) SELECT variant_id, location_id, 'extended',"
  .. " quantity, 0, 0, ?, ? FROM reservations" .. GAINS .. "%s FOR UPDATE"


local function statement(text, variants, args)
  for _, bin in ipairs(variants) do args[#args + 1] = bin end
  local some = variants[1] and (" AND variant_id IN (%s)"):format(sql.marks(#variants)) or ""
  return text:format(some), args
end


-- Logged first, for the condition of the one is that of the other.
local function extending(cart_id, until_ms, most_ms, ids)
  local bin, at, most = db.bin("cart", cart_id), db.at_ms(until_ms), (most_ms or FOR_EVER_MS) * 1000
  local gain_at, variants = db.at_ms(until_ms - MIN_GAIN_MS), db.bins("var", ids or {})
  local log, logged = statement(EXTENDED, variants, { cart_id, db.now(), bin, gain_at, most })
  local extend, extended = statement(EXTEND, variants, { at, most, bin, gain_at, most })
  return log, logged, extend, extended
end


function hold_time.extend(cart_id, until_ms, most_ms, ids)
  local s, log, logged, extend, extended = script.new(), extending(cart_id, until_ms, most_ms, ids)
  s:must("long enough", 1, log, unpack(logged))
  s:exec(extend, unpack(extended))
  return s:run()
end


function hold_time.extend_in(tx, cart_id, until_ms, most_ms)
  local log, logged, extend, extended = extending(cart_id, until_ms, most_ms)
  local done, e = tx:exec(log, unpack(logged))
  if not done or done.affected == 0 then return done, e end
  return tx:exec(extend, unpack(extended))
end


function hold_time.extend_with(s, cart_id, until_ms, n)
  local log, logged, extend, extended = extending(cart_id, until_ms)
  s:must("not held", n, log, unpack(logged))
  s:exec(extend, unpack(extended))
end


function hold_time.shorten(cart_id, until_ms, most_ms)
  return sql.exec("UPDATE reservations SET expires_at = LEAST(expires_at, ?, " .. BOUND .. ")"
    .. " WHERE cart_id = ? AND state = 'held'", db.at_ms(until_ms), most_ms * 1000,
    db.bin("cart", cart_id))
end


function hold_time.ends_at(tx, cart_id)
  local row, e = tx:one("SELECT MIN(expires_at) AS at FROM reservations WHERE cart_id = ?"
    .. " AND state = 'held'", db.bin("cart", cart_id))
  if not row then return nil, e end
  return row.at
end


-- How long of a variant is held goes on from when the cart began to, however often it is changed.
-- Where that time is over the units were anybody's, and it begins anew. -> until, since | nil
function hold_time.bounded(rows, until_ms, most_ms)
  local since
  for _, row in ipairs(rows) do
    if not since or row.since < since then since = row.since end
  end
  local most = since and time.parse(since) + (most_ms or FOR_EVER_MS)
  if not most or most <= time.now_ms() then return until_ms end
  return math.min(until_ms, most), db.at(since)
end


--- Is it held for as long as it may be? The job has not come by yet then.
function hold_time.is_over(rows, most_ms)
  if not most_ms then return false end
  for _, row in ipairs(rows) do
    if time.parse(row.since) + most_ms <= time.now_ms() then return true end
  end
  return false
end


return hold_time
