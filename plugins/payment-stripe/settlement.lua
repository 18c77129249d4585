-- What has moved on the account at Stripe, for the comparison with our books.
--
--   page(config, { from_ms, to_ms, after }) -> { items, after } | nil, err
--
-- Balance transactions, each with what it is about: a charge bears the metadata of its
-- PaymentIntent, a refund and a dispute name that. Amounts are those of the balance; where Stripe
-- settles in another currency than the shopper paid in, that is shown as it is.
local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local err = require "till.util.err"

local settlement = {}

local PAGE = 100
local KINDS = { charge = "charge", payment = "charge", refund = "refund",
  payment_refund = "refund", payout = "payout", payout_cancel = "payout",
  payout_failure = "payout", stripe_fee = "fee", stripe_fx_fee = "fee", tax_fee = "fee" }


local function kind_of(one, source)
  if source.object == "dispute" and one.amount ~= 0 then
    return one.amount < 0 and "dispute" or "dispute_reversal"
  end
  return KINDS[one.type] or "adjustment"
end


local function text(value)
  return type(value) == "string" and #value <= 191 and value or nil
end


local function item_of(one)
  local source = type(one.source) == "table" and one.source or {}
  local meta = type(source.metadata) == "table" and source.metadata or {}
  local currency = tostring(one.currency):upper()
  local kind = kind_of(one, source)
  return { reference = one.id, kind = kind, currency = currency,
    amount = amounts.from_stripe(one.amount, currency),
    fee = amounts.from_stripe(one.fee, currency), at_ms = one.created * 1000,
    source = text(source.id) or text(one.source), payment_id = text(meta.payment),
    provider_ref = text(source.payment_intent), page_prefix = "cs_",
    is_ours = kind == "refund" and text(meta.refund) ~= nil }
end


function settlement.page(config, wish)
  local got = api.request(config, "GET", "/v1/balance_transactions", { limit = PAGE,
    starting_after = wish.after, expand = { "data.source" },
    created = { gte = math.floor(wish.from_ms / 1000), lt = math.ceil(wish.to_ms / 1000) } })
  local list = got.ok and got.ok.data
  if type(list) ~= "table" then
    return nil, err.new("unavailable", "Stripe does not tell what moved on its account: "
      .. tostring(got.unsent or got.unknown or "refused"))
  end
  local items, last = {}, nil
  for i, one in ipairs(list) do
    items[i] = item_of(one)
    last = one.id
  end
  return { items = items, after = got.ok.has_more == true and last or nil }
end


return settlement
