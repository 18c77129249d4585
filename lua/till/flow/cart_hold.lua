-- till/flow/cart_hold - what a cart holds follows what is in it.
--
--   keep(cart, before)   it was changed, and saved: units that it has no more are anybody's, the
--                        others are held for longer, for the shopper is still about it; before:
--                        `priced` as it was
--   release(cart_id, claim) -> true | nil, err     nothing is held, for who has the cart claimed
--
-- Units are let go of after the change is saved, under the lock of the cart and by what it has
-- then. Where that fails, or its worker dies before it, they are held until their time is over:
-- what is not in the cart is not held for longer.
local carts = require "till.store.carts"
local channel = require "till.flow.channel"
local log = require "till.prim.log"
local reservations = require "till.store.reservations"
local sql = require "till.prim.sql"
local stock = require "till.store.stock"

local cart_hold = {}

-- A statement takes 2,000 parameters: of more variants than these all that the cart holds is meant.
local MOST_NAMED = 500


-- -> units by variant and bundle, the ids of the variants, each once
local function units_of(priced)
  local out, ids, named = {}, {}, {}
  for _, item in ipairs(priced and stock.items(priced) or {}) do
    local variant = item.variant_id
    local key = variant .. (item.bundle_id or "")
    out[key] = (out[key] or 0) + item.quantity
    if not named[variant] then ids[#ids + 1], named[variant] = variant, true end
  end
  return out, ids
end


local function has_less(before, now)
  for key, quantity in pairs(before) do
    if (now[key] or 0) < quantity then return true end
  end
  return false
end


-- Who begins to complete it meanwhile sees to what it holds himself.
local function trim(cart_id)
  return sql.transaction(function(tx)
    local cart, e = carts.get(cart_id, tx, true)
    if not cart then return nil, e end
    if cart.state ~= "open" then return true end
    return reservations.trim(tx, cart_id, stock.items(cart.priced))
  end)
end


local function extend(cart, ids)
  local until_ms, most_ms = channel.hold_until(cart)
  return reservations.extend(cart.id, until_ms, most_ms, #ids <= MOST_NAMED and ids or nil)
end


-- The change is saved: whatever fails here is told, and no failure of the change.
local function try(event, cart_id, fn, ...)
  local good, ok, e = xpcall(fn, debug.traceback, ...)
  if good and ok ~= nil then return end
  log.warn(event, { cart_id = cart_id, error = tostring(good and e or ok) })
end


function cart_hold.keep(cart, before)
  local now, ids = units_of(cart.priced)
  if has_less(units_of(before), now) then try("cart.trim", cart.id, trim, cart.id) end
  if ids[1] then try("cart.extend", cart.id, extend, cart, ids) end
end


function cart_hold.release(cart_id, claim)
  return sql.transaction(function(tx)
    local cart, e = carts.get(cart_id, tx, true)
    if cart == nil then return nil, e end
    if not cart or cart.state ~= "completing" or cart.claim ~= claim then return true end
    return reservations.release(tx, cart_id)
  end)
end


return cart_hold
