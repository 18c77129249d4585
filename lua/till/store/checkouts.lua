-- till/store/checkouts - what a completion has to know besides its cart, in one statement.
--
--   state(cart_id [, once]) -> { is_used =, version =, held =, payments = } | nil, err
--   whole(cart_id [, once]) -> the same with the cart as it was then, `cart`: false where there is
--                              none
--
-- is_used: the Idempotency-Key `once` has a record already (till.store.records); version:
-- the cart's at that moment, nil where there is none; held: what it held then
-- (till.store.reservations), which says nothing of the cart at another version: a row that was made
-- smaller keeps its id; payments: attempts that may still become money, two at most.
local carts = require "till.store.carts"
local db = require "till.store.db"
local payments = require "till.store.payments"
local records = require "till.store.records"
local reservations = require "till.store.reservations"
local sql = require "till.prim.sql"

local checkouts = {}

local VERSION = "(SELECT version AS c_version FROM carts WHERE id = ?)"


local function used(once)
  if not once or not once.key then return "0" end
  return records.is_used(once)
end


-- `cart`: a derived table of one row at most, whose columns begin with c_.
local function read(cart, cart_id, is_used, ...)
  local bin, args = db.bin("cart", cart_id), { ... }
  args[#args + 1], args[#args + 2], args[#args + 3] = bin, bin, bin
  return sql.query("SELECT cart.*, " .. is_used .. " AS is_used, " .. reservations.HELD
    .. " AS held, " .. payments.COLUMNS .. " FROM (SELECT 1) one LEFT JOIN " .. cart
    .. " cart ON TRUE LEFT JOIN payments ON cart_id = ? AND state IN " .. payments.LIVE
    .. " LIMIT 2", unpack(args))
end


local function state_of(rows)
  local out = { is_used = rows[1].is_used == 1, version = rows[1].c_version,
    held = reservations.unpack(rows[1].held or ""), payments = {} }
  for i, row in ipairs(rows) do
    if row.id then out.payments[i] = payments.of_row(row) end
  end
  return out
end


function checkouts.state(cart_id, once)
  local rows, e = read(VERSION, cart_id, used(once))
  if not rows then return nil, e end
  return state_of(rows)
end


function checkouts.whole(cart_id, once)
  local rows, e = read(carts.SEEN, cart_id, used(once))
  if not rows then return nil, e end
  local out = state_of(rows)
  out.cart = out.version and carts.of_seen(rows[1]) or false
  return out
end


return checkouts
