-- What has moved on the account at Stripe, for the comparison with our books.
--
--   page(config, { from_ms, to_ms, after }) -> { items, after } | nil, err
--   payout(config, { payout, after }) -> { payout, items, after } | nil, err    what became of it,
--                       on the first page, and the balance transactions that it holds
--   balance(config) -> { currency = amount } | nil, err    what is available, and what is not
--                       yet: payouts that are on their way have left it
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
  payment_refund = "refund", refund_failure = "refund_failure", payout = "payout",
  payout_cancel = "payout_reversal", payout_failure = "payout_reversal", stripe_fee = "fee",
  stripe_fx_fee = "fee", tax_fee = "fee" }


local function kind_of(one, source)
  if source.object == "dispute" and one.amount ~= 0 then
    return one.amount < 0 and "dispute" or "dispute_reversal"
  end
  -- what a method other than a card gave back comes again under the type of the refund
  if source.object == "refund" and one.amount > 0 then return "refund_failure" end
  return KINDS[one.type] or "adjustment"
end


-- As Stripe calls them -> as till.store.payouts does.
local STATES = { pending = "created", in_transit = "in_transit", paid = "paid", failed = "failed",
  canceled = "canceled" }
-- Whether it tells what a payout holds: of those that the merchant asked for it never does.
local LISTED = { completed = true, not_applicable = false }


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
    is_ours = kind == "refund" and text(meta.refund) ~= nil, key = text(meta.refund) }
end


local function no_answer(what, got)
  return nil, err.new("unavailable", ("Stripe does not tell %s: %s"):format(what,
    tostring(got.unsent or got.unknown or "refused")))
end


local function transactions(config, after, which)
  which.limit, which.starting_after, which.expand = PAGE, after, { "data.source" }
  local got = api.request(config, "GET", "/v1/balance_transactions", which)
  local list = got.ok and got.ok.data
  if type(list) ~= "table" then return no_answer("what moved on its account", got) end
  local items, last = {}, nil
  for i, one in ipairs(list) do
    items[i] = item_of(one)
    last = one.id
  end
  return { items = items, after = got.ok.has_more == true and last or nil }
end


function settlement.page(config, wish)
  return transactions(config, wish.after, { created = { gte = math.floor(wish.from_ms / 1000),
    lt = math.ceil(wish.to_ms / 1000) } })
end


local function reason_of(one)
  if not text(one.failure_code) then return nil end
  return ("%s: %s"):format(one.failure_code, tostring(text(one.failure_message) or "")):sub(1, 255)
end


-- -> what is told of it | false: Stripe has none of that id | nil, err
local function find(config, id)
  local got = api.request(config, "GET", "/v1/payouts/" .. id)
  local one = got.ok
  if got.refused and got.status == 404 then return false end
  if not one or type(one.created) ~= "number" then
    return no_answer("what became of a payout", got)
  end
  return { state = STATES[one.status], reason = reason_of(one), at_ms = one.created * 1000,
    arrives_at_ms = type(one.arrival_date) == "number" and one.arrival_date * 1000 or nil,
    is_listed = LISTED[one.reconciliation_status] }
end


function settlement.payout(config, wish)
  local told, e
  if not wish.payout:find "^%w[%w_]*$" then return { payout = { is_listed = false } } end
  if not wish.after then
    told, e = find(config, wish.payout)
    if told == nil then return nil, e end
    if not told then return { payout = { is_listed = false } } end
    if not told.is_listed then return { payout = told } end
  end
  local page, e2 = transactions(config, wish.after, { payout = wish.payout })
  if not page then return nil, e2 end
  page.payout = told
  return page
end


function settlement.balance(config)
  local got = api.request(config, "GET", "/v1/balance")
  if not got.ok or type(got.ok.available) ~= "table" then
    return no_answer("its balance", got)
  end
  local out = {}
  for _, name in ipairs { "available", "pending" } do
    for _, one in ipairs(got.ok[name] or {}) do
      local currency = tostring(one.currency):upper()
      out[currency] = (out[currency] or 0) + amounts.from_stripe(one.amount, currency)
    end
  end
  return out
end


return settlement
