-- A PaymentIntent of Stripe: made without moving money, then confirmed; found again; let go of.
--
-- It is made first, unconfirmed, and confirmed by a second request. Making it again under its key
-- gives the same one and moves nothing, so an attempt whose answers were all lost is found without
-- asking for money; and one that was never confirmed is canceled before we say that it was not
-- there, so that a confirmation that is still on its way finds nothing to take.
--
--   create(config, payment)    -> as api.request
--   confirm(config, payment, id)
--   find(config, payment)      -> the intent, as it is now | nil: not known
--   close(config, payment, id) -> "closed" | the intent, where it cannot be | nil: not known
--   is_ours(intent, payment, is_part)   of this attempt, of this amount and currency?
local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local log = require "till.prim.log"
local time = require "till.prim.time"
local url = require "till.util.url"

local intent = {}

local KEPT_MS = 23 * 3600000 -- Stripe forgets keys after 24 hours
local ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
local EXPAND = { "latest_charge" }


local function path_of(id, what)
  return "/v1/payment_intents/" .. url.encode(id) .. (what and "/" .. what or "")
end


-- When the payment was made, by its ULID; one without is old.
local function made_ms(payment_id)
  local digits = payment_id:match "^pay_(%w%w%w%w%w%w%w%w%w%w)%w+$"
  local ms = 0
  for digit in (digits or ""):gmatch "." do
    ms = ms * 32 + (ALPHABET:find(digit, 1, true) or 1) - 1
  end
  return ms
end


function intent.create(config, payment)
  return api.request(config, "POST", "/v1/payment_intents", {
    amount = amounts.to_stripe(payment.amount, payment.currency),
    currency = payment.currency:lower(), capture_method = config.capture_method,
    payment_method_types = config.payment_method_types,
    metadata = { payment = payment.payment_id, cart = payment.order_ref },
  }, payment.idem_key)
end


function intent.confirm(config, payment, id)
  return api.request(config, "POST", path_of(id, "confirm"), {
    payment_method = payment.data.payment_method, expand = EXPAND,
    return_url = config.return_url:gsub("{cart}", { ["{cart}"] = url.encode(payment.order_ref) }),
  }, payment.idem_key .. "-confirm")
end


local function get(config, id)
  return api.request(config, "GET", path_of(id), { expand = EXPAND }).ok
end


-- -> the one of this attempt | false | nil: not known
local function search(config, payment)
  local found = api.request(config, "GET", "/v1/payment_intents/search",
    { query = ("metadata['payment']:'%s'"):format(payment.payment_id), limit = 2 }).ok
  if not found or type(found.data) ~= "table" or #found.data > 1 then return nil end
  return found.data[1] or false
end


function intent.find(config, payment)
  if payment.provider_ref then return get(config, payment.provider_ref) end
  if time.now_ms() - made_ms(payment.payment_id) > KEPT_MS then
    local found = search(config, payment)
    if found == nil then return nil end
    if found then return get(config, found.id) end
  end
  local again = intent.create(config, payment).ok
  return again and get(config, again.id)
end


function intent.close(config, payment, id)
  local answer = api.request(config, "POST", path_of(id, "cancel"), {},
    payment.idem_key .. "-close")
  if answer.ok and answer.ok.status == "canceled" then return "closed" end
  if not answer.refused then return nil end
  local seen = get(config, id)
  if seen and seen.status == "canceled" then return "closed" end
  return seen
end


function intent.is_ours(seen, payment, is_part)
  local meta = type(seen.metadata) == "table" and seen.metadata or {}
  local amount = amounts.to_stripe(payment.amount, payment.currency)
  local is_amount = type(seen.amount) == "number" and amount
    and (seen.amount == amount or is_part and seen.amount > amount)
  if seen.object == "payment_intent" and type(seen.id) == "string" and is_amount
    and seen.currency == payment.currency:lower() and meta.payment == payment.payment_id
    and meta.cart == payment.order_ref then
    return true
  end
  log.error("stripe.another_payment", { payment_id = payment.payment_id,
    amount = tostring(seen.amount), currency = tostring(seen.currency),
    intent = tostring(seen.id) })
  return false
end


return intent
