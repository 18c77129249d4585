-- What Stripe tells by itself, and what is made of it.
--
--   receive(config, request)  -> { status, event = … } | { status, reason }    who sent it?
--   poll(config, { since_ms, until_ms, after }) -> { events, after = where the next page begins }
--   apply(config, { types, subject }) -> what is true of that payment now, for till.flow.webhooks
--
-- An event is believed no further than that something has happened to its subject, a PaymentIntent:
-- what is true of it is asked for when it is applied. So their order, their number and their age
-- do not matter.
local amounts = require "plugins.payment-stripe.amounts"
local api = require "plugins.payment-stripe.api"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local json = require "till.prim.json"
local outcome = require "plugins.payment-stripe.outcome"
local signature = require "till.prim.signature"
local url = require "till.util.url"

local webhook = {}

local PAGE = 100
-- What can change what we know of a payment; all else is kept and ignored.
local TYPES = {}
for name in ([[payment_intent.amount_capturable_updated payment_intent.succeeded
  payment_intent.canceled payment_intent.payment_failed charge.succeeded charge.captured
  charge.expired charge.refunded charge.refund.updated refund.created refund.updated refund.failed
  charge.dispute.created charge.dispute.updated charge.dispute.closed charge.dispute.funds_withdrawn
  charge.dispute.funds_reinstated checkout.session.completed
  checkout.session.async_payment_succeeded]]):gmatch "%S+" do
  TYPES[name] = true
end
local ASKED_FOR = {} -- a poll may name 20 types
for name in pairs(TYPES) do ASKED_FOR[#ASKED_FOR + 1] = name end
table.sort(ASKED_FOR)
local STATES = { requires_capture = "authorized", succeeded = "captured", canceled = "voided" }


local function is_text(value, most)
  return type(value) == "string" and #value > 0 and #value <= most
    and not value:find "[^%w_.:-]"
end


local function subject_of(event)
  local object = event.data and event.data.object
  if type(object) ~= "table" then return nil end
  if object.object == "payment_intent" then return object.id end
  if is_text(object.payment_intent, 191) then return object.payment_intent end
  return object.id
end


-- -> as the inbox has it | nil: that is no event
local function read(event, body)
  if type(event) ~= "table" or event.object ~= "event" or not is_text(event.id, 191)
    or not is_text(event.type, 128) or type(event.created) ~= "number"
    or event.created % 1 ~= 0 or event.created < 0 or event.created > 2 ^ 32
    or type(event.data) ~= "table" then
    return nil
  end
  local subject = subject_of(event)
  local is_known = TYPES[event.type] and is_text(subject, 191)
  return { id = event.id, type = event.type, at_ms = event.created * 1000, body = body,
    subject = is_known and subject or event.id, is_ignored = not is_known }
end


local function secrets_of(config)
  local out = {}
  for _, name in ipairs { "webhook_secret", "webhook_secret_old" } do
    local secret = config[name] and conf.secret(config[name])
    if secret and secret ~= "" then out[#out + 1] = secret end
  end
  return out
end


-- Of another account, or of the other of test and live: a secret that was mixed up.
local function is_foreign(config, event)
  if event.account ~= nil and event.account ~= json.null and event.account ~= config.account then
    return true
  end
  local key = conf.secret(config.secret_key)
  local kind = key and key:match "^%ak_(%a+)_"
  if kind ~= "live" and kind ~= "test" then return false end
  return type(event.livemode) == "boolean" and event.livemode ~= (kind == "live")
end


function webhook.receive(config, request)
  local secrets = secrets_of(config)
  if #secrets == 0 then return { status = 400, reason = "no_secret" } end
  local is_signed, why = signature.stripe(request.headers["stripe-signature"], request.body,
    secrets)
  if not is_signed then return { status = 400, reason = why } end
  local event = json.decode(request.body)
  local known = read(event, request.body)
  if not known then return { status = 400, reason = "no_event" } end
  if is_foreign(config, event) then return { status = 400, reason = "foreign" } end
  return { status = 200, event = known }
end


function webhook.poll(config, wish)
  local got = api.request(config, "GET", "/v1/events", { limit = PAGE,
    starting_after = wish.after, types = ASKED_FOR,
    created = { gte = math.floor(wish.since_ms / 1000),
      lte = wish.until_ms and math.ceil(wish.until_ms / 1000) or nil } })
  local list = got.ok and got.ok.data
  if type(list) ~= "table" then
    return nil, err.new("unavailable", "Stripe does not tell its events: "
      .. tostring(got.unsent or got.unknown or "refused"))
  end
  local out, last = {}, nil
  for _, event in ipairs(list) do
    local known = read(event)
    if known and not is_foreign(config, event) then
      known.body = json.encode(event)
      out[#out + 1] = known
    end
    last = type(event) == "table" and event.id or last
  end
  return { events = out, after = got.ok.has_more == true and last or nil }
end


local function get(config, path, params)
  local got = api.request(config, "GET", path, params)
  if got.ok then return got.ok end
  if got.refused and got.status == 404 then return false end
  return nil, err.new("unavailable", "Stripe does not tell what became of it: "
    .. tostring(got.unsent or got.unknown or "refused"))
end


local function list_of(config, path, id)
  local got, e = get(config, path, { payment_intent = id, limit = PAGE })
  if not got then return nil, e or err.new("unavailable", "Stripe has no list of " .. path) end
  return got.data
end


local ours = amounts.from_stripe


local function add_capture(into, charge, currency)
  local paid = charge.balance_transaction
  into[#into + 1] = { kind = "captured", sum = ours(charge.amount_captured, currency),
    reference = charge.id, at_ms = charge.created * 1000,
    fee = type(paid) == "table" and paid.currency == charge.currency
      and ours(paid.fee, currency) or nil }
end


-- They came with the charge where they were asked for, but for those beyond a few.
local function refunds_of(config, answer, charge)
  local with_it = charge.refunds
  if type(with_it) == "table" and type(with_it.data) == "table" and with_it.has_more == false then
    return with_it.data
  end
  return list_of(config, "/v1/refunds", answer.provider_ref)
end


local function reason_of(refund)
  local why = type(refund.failure_reason) == "string" and ": " .. refund.failure_reason or ""
  return ("the refund %s %s%s: the money is back at the provider"):format(refund.id, refund.status,
    why:gsub("[^%w_: -]", ""):sub(1, 100))
end


-- A refund that we asked for is booked by who asked, who knows what it was for, and named here.
-- One without a balance transaction is what a partial capture let go of: that never was money. One
-- that failed may have been booked, or be about to be: what it comes to is the same.
local function add_refunds(config, into, answer, charge)
  local list, e = refunds_of(config, answer, charge)
  if not list then return nil, e end
  for i = #list, 1, -1 do -- the oldest first, as they were booked
    local refund = list[i]
    local meta = type(refund.metadata) == "table" and refund.metadata or {}
    local key = type(meta.refund) == "string" and meta.refund or nil
    local is_over = refund.status == "failed" or refund.status == "canceled"
    if is_over then
      into[#into + 1] = { kind = "refund_failed", amount = ours(refund.amount, answer.currency),
        reference = refund.id, key = key, is_ours = key ~= nil or nil,
        reason = reason_of(refund) }
    elseif type(refund.balance_transaction) == "string" then
      into[#into + 1] = { kind = "refunded", amount = ours(refund.amount, answer.currency),
        reference = refund.id, at_ms = refund.created * 1000, reason = "refunded at Stripe",
        is_ours = key ~= nil or nil }
    end
  end
  return true
end


local function add_disputes(config, into, answer)
  local list, e = list_of(config, "/v1/disputes", answer.provider_ref)
  if not list then return nil, e end
  for i = #list, 1, -1 do
    local one = list[i]
    if not tostring(one.status):find "^warning" then -- a question of the bank: nothing was taken
      local amount, at_ms = ours(one.amount, answer.currency), one.created * 1000
      into[#into + 1] = { kind = "disputed", amount = amount, reference = one.id, at_ms = at_ms,
        reason = tostring(one.reason) }
      if one.status == "won" or one.status == "lost" then
        into[#into + 1] = { kind = one.status, reference = one.id }
      end
    end
  end
  return true
end


-- A refund that failed is no part of the charge's amount any more: only its events tell of it.
local function is_about_refunds(event)
  for _, name in ipairs(event.types) do
    if name:find "refund" then return true end
  end
  return false
end


local function add_charge(config, answer, charge, event)
  local events = answer.events
  if charge.captured == true then add_capture(events, charge, answer.currency) end
  local ok, e = true, nil
  if is_about_refunds(event) or charge.amount_refunded > charge.amount - charge.amount_captured then
    ok, e = add_refunds(config, events, answer, charge)
  end
  if ok and charge.disputed == true then ok, e = add_disputes(config, events, answer) end
  return ok, e
end


function webhook.apply(config, event)
  if not event.subject:find "^pi_" then return { park = "it is about no PaymentIntent" } end
  local seen, e = get(config, "/v1/payment_intents/" .. url.encode(event.subject),
    { expand = { "latest_charge", "latest_charge.balance_transaction",
      is_about_refunds(event) and "latest_charge.refunds" or nil } })
  if seen == nil then return nil, e end
  if not seen then return { park = "Stripe does not know this PaymentIntent" } end
  local meta = type(seen.metadata) == "table" and seen.metadata or {}
  if type(meta.payment) ~= "string" or type(meta.cart) ~= "string" then
    return { park = "its metadata name no payment of ours" }
  end
  local currency = tostring(seen.currency):upper()
  local answer = { payment_id = meta.payment, cart_id = meta.cart, provider_ref = seen.id,
    page_prefix = "cs_", currency = currency, amount = ours(seen.amount, currency),
    state = STATES[seen.status], events = {} }
  local charge = seen.latest_charge
  if seen.status == "canceled" then
    answer.events[1] = { kind = "voided", reference = seen.id,
      reason = outcome.why_canceled(seen) or "canceled at Stripe" }
  elseif type(charge) == "table" then
    local ok, e2 = add_charge(config, answer, charge, event)
    if not ok then return nil, e2 end
  end
  return answer
end


return webhook
