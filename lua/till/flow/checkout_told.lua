-- till/flow/checkout_told - how a completion ended, for who asks again under the same key.
--
--   of(cart, once) -> { type = "cart", cart, error } | false: it is to be completed | nil, err
--   FOR_SHOPPER    codes of what the shopper can do something about: he gets his cart back, with
--                  the reason
--
-- The answer was lost, or not there yet, and is not recorded. To try again might say something
-- else: the stock was anybody's since, his payment is let go of. Who has chosen another payment
-- since has heard it: he tries again.
local begin = require "till.flow.checkout_begin"
local err = require "till.util.err"
local parts = require "till.flow.payment_parts"
local payments = require "till.store.payments"
local sagas = require "till.store.sagas"
local time = require "till.prim.time"

local checkout_told = {}

checkout_told.FOR_SHOPPER = { payment_declined = true, payment_requires_action = true,
  sold_out = true, price_changed = true, promotion_refused = true, shipping_unavailable = true,
  payment_provider_unknown = true }


local function chosen_since(cart_id, at)
  local list, e = payments.of_cart(cart_id)
  if not list then return nil, e end
  local since_ms = time.parse(at)
  for _, p in ipairs(list) do
    if parts.LIVE[p.state] and time.parse(p.created_at) > since_ms then return true end
  end
  return false
end


function checkout_told.of(cart, once)
  if cart.state ~= "open" or not cart.claim or not once.key then return false end
  local row, e = sagas.find("checkout", cart.id)
  if not row then return row, e end
  local why = row.state == "undone" and row.data.undoing
  if not why or not checkout_told.FOR_SHOPPER[why.code]
    or row.data.key ~= begin.name_of(once) then
    return false
  end
  local chosen, e2 = chosen_since(cart.id, row.updated_at)
  if chosen == nil then return nil, e2 end
  return not chosen and { type = "cart", cart = cart,
    error = err.new(why.code, why.message) }
end


return checkout_told
