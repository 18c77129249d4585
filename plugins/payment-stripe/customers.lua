-- Saved payment methods: a Customer of Stripe holds them, and each is used together with him.
--
--   method_of(payment)    -> the pm_… to confirm with | nil
--   is_saving(payment)    -> is it to be kept for the next time?
--   of(config, payment)   -> cus_… | nil: none is needed | nil, an answer of api.request
--   kept(intent, payment) -> what the core keeps of it | nil
--   forget(config, about) -> "forgotten" | "unknown"
--
-- Whose it is says the core, by the cart: `payment.saved` and `payment.customer` come from nobody
-- else. What the client gives in `data` names no customer.
local api = require "plugins.payment-stripe.api"
local url = require "till.util.url"

local customers = {}

local KEY = "-customer"


local function is_id(value, prefix)
  return type(value) == "string" and #value <= 255
    and value:find("^" .. prefix .. "_[%w_]+$") ~= nil
end


function customers.method_of(payment)
  local method = payment.data.payment_method
  if payment.saved then
    method = payment.saved.method
  elseif payment.data.saved_method ~= nil then
    return nil
  end
  return is_id(method, "pm") and method or nil
end


function customers.is_saving(payment)
  return payment.data.save == true and payment.customer ~= nil and not payment.saved
end


-- One without an answer is made again under the same key; a second one that nobody uses is no harm.
function customers.of(config, payment)
  if payment.saved then return payment.saved.customer end
  if not customers.is_saving(payment) then return nil end
  if is_id(payment.customer.ref, "cus") then return payment.customer.ref end
  local made = api.request(config, "POST", "/v1/customers",
    { metadata = { customer = payment.customer.id } }, payment.idem_key .. KEY)
  if made.ok and is_id(made.ok.id, "cus") then return made.ok.id end
  return nil, made.ok and { unknown = "another customer" } or made
end


-- The card is told as it was charged: digits that may be shown, and nothing else.
function customers.kept(seen, payment)
  local charge = seen.latest_charge
  if not customers.is_saving(payment) or seen.setup_future_usage ~= "off_session"
    or not is_id(seen.payment_method, "pm") or not is_id(seen.customer, "cus")
    or type(charge) ~= "table" or type(charge.payment_method_details) ~= "table" then
    return nil
  end
  local card = charge.payment_method_details.card
  if type(card) ~= "table" then return nil end
  return { method = seen.payment_method, customer = seen.customer, brand = card.brand,
    last4 = card.last4, exp_month = card.exp_month, exp_year = card.exp_year }
end


-- Safe to ask twice: who is refused looks whether it hangs on anybody any more.
function customers.forget(config, about)
  if not is_id(about.method, "pm") then return "unknown" end
  local path = "/v1/payment_methods/" .. url.encode(about.method)
  local got = api.request(config, "POST", path .. "/detach", {}, api.fresh("forget"))
  if got.ok then return "forgotten" end
  if not got.refused then return "unknown" end
  local seen = api.request(config, "GET", path)
  if seen.ok and type(seen.ok.customer) ~= "string" or seen.refused and seen.status == 404 then
    return "forgotten"
  end
  return "unknown"
end


return customers
