-- Checkout Sessions: Stripe's own page. The shopper pays there, and a PaymentIntent comes of it.
--
--   create(config, payment)  -> as api.request
--   find(config, payment)    -> the session | false: there is none | nil: not known
--   expire(config, payment)  -> the session, as it is now | nil: not known
--   is_ours(session, payment)
--   is_session(ref)          is it the id of one?
--   is_late(config, payment) -> is it too late to open the page?
--
-- It ends by itself at a time that follows from the payment's id: made again under its key, it is
-- the same one.
local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local customers = require "plugins.payment-stripe.customers"
local intent = require "plugins.payment-stripe.intent"
local log = require "till.prim.log"
local time = require "till.prim.time"
local url = require "till.util.url"

local sessions = {}

local LEAST_S = 1800 -- Stripe opens none for less
local PAGES = 5
local PATH = "/v1/checkout/sessions"


local function ends_s(config, payment)
  return math.floor(intent.made_ms(payment.payment_id) / 1000) + config.checkout_minutes * 60
    + LEAST_S
end


function sessions.is_session(ref)
  return type(ref) == "string" and ref:find "^cs_" ~= nil
end


function sessions.is_late(config, payment)
  return ends_s(config, payment) - LEAST_S < time.now_ms() / 1000 + 5
end


function sessions.create(config, payment)
  local customer, failed = customers.of(config, payment)
  if failed then return failed end
  local back = intent.return_url(config, payment)
  local metadata = { payment = payment.payment_id, cart = payment.order_ref }
  return api.request(config, "POST", PATH, {
    mode = "payment", client_reference_id = payment.payment_id, success_url = back,
    cancel_url = back, payment_method_types = config.payment_method_types, customer = customer,
    expires_at = ends_s(config, payment), metadata = metadata,
    line_items = { { quantity = 1, price_data = { currency = payment.currency:lower(),
      unit_amount = amounts.to_stripe(payment.amount, payment.currency),
      product_data = { name = config.checkout_name } } } },
    payment_intent_data = { capture_method = config.capture_method, metadata = metadata,
      setup_future_usage = customers.is_saving(payment) and "off_session" or nil },
  }, payment.idem_key .. "-checkout")
end


local function get(config, id)
  return api.request(config, "GET", PATH .. "/" .. url.encode(id)).ok
end


-- Newest first, and without a search: those that are older than the payment end it. One that is
-- not among the first hundreds was never shown to anybody, for we have not heard of it: it expires.
local function listed(config, payment)
  local made_s, after = intent.made_ms(payment.payment_id) / 1000, nil
  for _ = 1, PAGES do
    local page = api.request(config, "GET", PATH, { limit = 100, starting_after = after }).ok
    if not page or type(page.data) ~= "table" then return nil end
    for _, one in ipairs(page.data) do
      if one.client_reference_id == payment.payment_id then return one end
      if type(one.created) ~= "number" or one.created < made_s - 300 then return false end
    end
    if page.has_more ~= true then return false end
    after = page.data[#page.data].id
  end
  return false
end


function sessions.find(config, payment)
  if payment.provider_ref then return get(config, payment.provider_ref) end
  if not sessions.is_late(config, payment) then
    local again = sessions.create(config, payment)
    if again.ok then return get(config, again.ok.id) end
    if again.is_replayed then return listed(config, payment) end -- as of intents
    if not again.is_conflict and not again.refused then return nil end
    return listed(config, payment) or nil
  end
  return listed(config, payment)
end


function sessions.expire(config, payment)
  local id = payment.provider_ref
  local got = api.request(config, "POST", PATH .. "/" .. url.encode(id) .. "/expire", {},
    api.fresh(payment.idem_key .. "-expire"))
  if got.ok then return got.ok end
  return got.refused and get(config, id) or nil
end


function sessions.is_ours(seen, payment)
  local meta = type(seen.metadata) == "table" and seen.metadata or {}
  if seen.object == "checkout.session" and sessions.is_session(seen.id)
    and seen.amount_total == amounts.to_stripe(payment.amount, payment.currency)
    and seen.currency == payment.currency:lower() and meta.payment == payment.payment_id
    and meta.cart == payment.order_ref then
    return true
  end
  log.error("stripe.another_payment", { payment_id = payment.payment_id,
    amount = tostring(seen.amount_total), currency = tostring(seen.currency),
    session = tostring(seen.id) })
  return false
end


return sessions
