-- till/flow/checkout_begin - the claim of a cart, and with it as much of its flow as can be.
--
--   claim(cart, data, env, until_ms [, held]) -> number | false: it is claimed, or changed
--                                              | nil, err    as carts.claim; data as frozen
--
-- Where the cart holds exactly what it is to buy and there is no flow of it yet, its claim, the row
-- of the flow and that it holds for as long as a provider may take are one transaction: the step
-- `reserve` is done with it, and env.begun is the flow. All of it or nothing is there, so whoever
-- dies leaves what a death after that step leaves, or an open cart. Where anything is otherwise the
-- cart alone is claimed, and the flow does the rest step by step.
local carts = require "till.store.carts"
local reservations = require "till.store.reservations"
local sagas = require "till.store.sagas"
local script = require "till.store.script"
local time = require "till.prim.time"

local checkout_begin = { PROVIDER_MS = 3600000 }

local NAME, RESERVED = "checkout", 1


local function can_begin(data, env, held)
  return not held and env.anew and env.state and #data.items > 0
    and reservations.is_held(env.state.held, data.items)
end


-- -> claim | false: step by step | nil, err
local function begin(cart, data, env, until_ms)
  local s = script.new()
  carts.claim_with(s, cart, until_ms)
  local row = sagas.begin_with(s, NAME, cart.id, data, { step = RESERVED, until_ms = until_ms })
  reservations.extend_with(s, cart.id, time.now_ms() + checkout_begin.PROVIDER_MS,
    #env.state.held)
  s:give("CONCAT(@till_claim, ' ', @till_saga) AS begun")
  local got, e = s:run()
  if not got then return got, got == nil and e or nil end
  local claim, id = got.begun:match("^(%d+) (%d+)$")
  row.id, env.begun, env.is_held = tonumber(id), row, true
  return tonumber(claim)
end


function checkout_begin.claim(cart, data, env, until_ms, held)
  if can_begin(data, env, held) then
    local claim, e = begin(cart, data, env, until_ms)
    if claim ~= false then return claim, e end
  end
  return carts.claim(nil, cart, until_ms, held)
end


return checkout_begin
