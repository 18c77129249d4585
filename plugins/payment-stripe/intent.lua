-- A PaymentIntent of Stripe: made without moving money, then confirmed; found again; let go of.
--
-- It is made first, unconfirmed, and confirmed by a second request. Making it again under its key
-- gives the same one and moves nothing, so an attempt whose answers were all lost is found without
-- asking for money; and one that was never confirmed is canceled before we say that it was not
-- there, so that a confirmation that is still on its way finds nothing to take.
--
--   create(config, payment)    -> as api.request
--   confirm(config, payment, id)
--   find(config, payment)      -> the intent, as it is now | false: there is none, and will be none
--                                 | nil: not known
--   get(config, id)            -> the intent | nil
--   search(config, payment)    by its metadata -> intent | false | nil
--   close(config, payment, id) -> "closed" | the intent, where it cannot be | nil: not known
--   is_ours(intent, payment, is_part)   of this attempt, of this amount and currency?
local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local customers = require "plugins.payment-stripe.customers"
local log = require "till.prim.log"
local time = require "till.prim.time"
local url = require "till.util.url"

local intent = {}

local KEPT_MS = 23 * 3600000 -- Stripe forgets keys after 24 hours
local SETTLED_MS = 1800000 -- whoever may have been making it has ended by then
local PAGES = 5
local ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
local EXPAND = { "latest_charge" }


local function path_of(id, what)
  return "/v1/payment_intents/" .. url.encode(id) .. (what and "/" .. what or "")
end


-- When the payment was made, by its ULID; one without is old.
function intent.made_ms(payment_id)
  local digits = payment_id:match "^pay_(%w%w%w%w%w%w%w%w%w%w)%w+$"
  local ms = 0
  for digit in (digits or ""):gmatch "." do
    ms = ms * 32 + (ALPHABET:find(digit, 1, true) or 1) - 1
  end
  return ms
end


function intent.create(config, payment)
  local customer, failed = customers.of(config, payment)
  if failed then
    failed.is_replayed = nil -- that was of the customer
    return failed
  end
  return api.request(config, "POST", "/v1/payment_intents", {
    amount = amounts.to_stripe(payment.amount, payment.currency),
    currency = payment.currency:lower(), capture_method = config.capture_method,
    payment_method_types = config.payment_method_types, customer = customer,
    setup_future_usage = customers.is_saving(payment) and "off_session" or nil,
    metadata = { payment = payment.payment_id, cart = payment.order_ref },
  }, payment.idem_key)
end


function intent.return_url(config, payment)
  return (config.return_url:gsub("{cart}", { ["{cart}"] = url.encode(payment.order_ref) }))
end


function intent.confirm(config, payment, id)
  return api.request(config, "POST", path_of(id, "confirm"), {
    payment_method = customers.method_of(payment), expand = EXPAND,
    return_url = intent.return_url(config, payment),
  }, payment.idem_key .. "-confirm")
end


function intent.get(config, id)
  return api.request(config, "GET", path_of(id), { expand = EXPAND }).ok
end


-- -> the one of this attempt | false | nil: not known
function intent.search(config, payment)
  local found = api.request(config, "GET", "/v1/payment_intents/search",
    { query = ("metadata['payment']:'%s'"):format(payment.payment_id), limit = 2 }).ok
  if not found or type(found.data) ~= "table" or #found.data > 1 then return nil end
  return found.data[1] or false
end


-- The list is true at once, where a search finds nothing before a minute.
-- -> the one of this attempt | false | nil: not known, and true where they are too many to look at
local function listed(config, payment)
  local made_s = math.floor(intent.made_ms(payment.payment_id) / 1000)
  local after
  for _ = 1, PAGES do
    local page = api.request(config, "GET", "/v1/payment_intents", { limit = 100,
      starting_after = after, created = { gte = made_s - 300, lte = made_s + 86400 } }).ok
    if not page or type(page.data) ~= "table" then return nil end
    for _, one in ipairs(page.data) do
      if type(one.metadata) == "table" and one.metadata.payment == payment.payment_id then
        return one
      end
    end
    if page.has_more ~= true then return false end
    after = page.data[#page.data].id
  end
  return nil, true
end


-- A fault of Stripe's that it remembers under the key for a day: nobody was ever given an intent
-- under it, nor will be, so nobody confirms one. One may be there all the same, to be closed: the
-- list tells. In a shop that makes more than it shows, whoever was not found by a search either
-- stays unconfirmed for ever, and takes nothing.
local function of_failure(config, payment)
  local found, are_many = listed(config, payment)
  if are_many then found = intent.search(config, payment) end
  if found then return intent.get(config, found.id) end
  return found
end


-- Its key is known with other parameters, for the options were changed since, or it is refused.
-- Where no intent is there and nobody can be making one any more, none was ever made. Of more than
-- the list shows the search is believed: it is as late as a minute, and we wait for longer.
local function by_metadata(config, payment)
  local sought = intent.search(config, payment)
  local found, are_many = sought, false
  if not found then found, are_many = listed(config, payment) end
  if found then return intent.get(config, found.id) end
  if found == nil and not (are_many and sought == false) then return nil end
  if time.now_ms() - intent.made_ms(payment.payment_id) > SETTLED_MS then return false end
end


function intent.find(config, payment)
  if payment.provider_ref then return intent.get(config, payment.provider_ref) end
  if time.now_ms() - intent.made_ms(payment.payment_id) > KEPT_MS then
    local found = intent.search(config, payment)
    if found == nil then return nil end
    if found then return intent.get(config, found.id) end
  end
  local again = intent.create(config, payment)
  if again.ok then return intent.get(config, again.ok.id) end
  if again.is_replayed then return of_failure(config, payment) end
  if again.is_conflict or again.refused then return by_metadata(config, payment) end
end


-- Canceling twice is canceling once. A key of its own for each time: a failure of Stripe's is
-- remembered under its key for a day.
function intent.close(config, payment, id)
  local answer = api.request(config, "POST", path_of(id, "cancel"), {},
    api.fresh(payment.idem_key .. "-close"))
  if answer.ok and answer.ok.status == "canceled" then return "closed" end
  if not answer.refused then return nil end
  local seen = intent.get(config, id)
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
