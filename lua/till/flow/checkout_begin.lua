-- till/flow/checkout_begin - all that a completion writes before it asks a provider, in one piece.
--
--   can(cart, items, total, env) -> boolean    is it that simple?
--   begin(cart, data, env) -> claim of the cart: env.begun is the flow, env.sent the payment
--                          to be asked for | false: step by step | nil, err
--   name_of(once) -> what a flow knows its Idempotency-Key by | nil
--
-- The key, the claim of the cart, the row of the flow, that what is held is held for as long as a
-- provider may take, and that its payment is on its way. They are all there or none: who dies
-- before has written nothing, and who dies after it leaves a payment that is `sending`, as one that
-- died while it asked. So nearly all begin: the cart holds exactly what it is to buy, one payment
-- that nobody was asked for pays for all of it, and there was no flow before. What it goes by may
-- be what a worker remembers: each of it is a condition of the script.
local carts = require "till.store.carts"
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local kept = require "till.flow.payment_kept"
local payment = require "till.flow.payment"
local payment_offer = require "till.flow.payment_offer"
local payments = require "till.store.payments"
local reservations = require "till.store.reservations"
local sagas = require "till.store.sagas"
local script = require "till.store.script"
local time = require "till.prim.time"

local checkout_begin = { PROVIDER_MS = 3600000 }

local NAME, RESERVED = "checkout", 1


function checkout_begin.name_of(once)
  return once.key and crypto.hex(crypto.sha256(once.scope .. "\0" .. once.key))
end


-- The one that pays for all of it, and was not sent yet.
local function only(list, cart, total)
  local p = list[1]
  if not p or list[2] or p.state ~= "created" or p.amount ~= total
    or p.currency ~= cart.currency then
    return nil
  end
  local may = not kept.part(p) and not kept.is_let_go(p) and payment.is_offered(p)
  return may and payment_offer.still(p, cart) and p or nil
end


function checkout_begin.can(cart, items, total, env)
  if env.is_tried or env.only_payment or cart.state ~= "open" or cart.claim then return false end
  local state = env.state
  if not state or #items == 0 or total == 0 then return false end
  if not reservations.is_held(state.held, items) then return false end
  return only(state.payments, cart, total) ~= nil
end


local function write(s, cart, data, env, p)
  local until_ms = time.now_ms() + conf.get("cart.completion_claim_ms")
  carts.claim_with(s, cart, until_ms)
  local claimed = env.claim_with and env.claim_with(s)
  local row = sagas.begin_with(s, NAME, cart.id, data, { step = RESERVED, until_ms = until_ms })
  payments.send(s, p, row.claim)
  reservations.extend_with(s, cart.id, time.now_ms() + checkout_begin.PROVIDER_MS,
    #env.state.held)
  s:give("CONCAT(@till_claim, ' ', @till_saga) AS begun")
  return row, claimed
end


local function copy_of(p)
  local out = {}
  for name, value in pairs(p) do out[name] = value end
  return out
end


function checkout_begin.begin(cart, data, env)
  local s, p = script.new(), copy_of(env.state.payments[1])
  env.is_tried, data.payment_id = true, p.id
  local row, claimed = write(s, cart, data, env, p)
  local got, e = s:run()
  if not got then return got, got == nil and e or nil end
  if claimed then claimed() end
  local claim, id = got.begun:match("^(%d+) (%d+)$")
  row.id, p.state = tonumber(id), "sending"
  env.anew, env.begun, env.sent, env.is_held = true, row, p, true -- never where there is a flow
  return tonumber(claim)
end


return checkout_begin
