-- till/flow/payment_kept - what we keep of a payment beside what the client gave for its provider.
--
--   kept.given(data) -> data | nil     as a client gives it: null is nothing
--   kept.begin(data, offer [, part, order_id]) -> data    with what the provider said of itself
--                                      when the session began
--   kept.with(data, more) -> data      with what the client brought back
--   kept.fits(data or nil [, more]) -> true | nil, err(invalid_request)    is it small enough, with
--                                      what he brings back besides?
--   kept.for_provider(data) -> data    without what is ours
--   kept.policy(p) -> { capture =, offline = } | nil      as it was said then; nil of an old one
--   kept.part(p) -> "part" | "rest" | nil    of several of a cart: till.flow.payment_parts
--   kept.order(p) -> order id | nil    it was begun to pay for this order, which is placed already
--   kept.is_let_go(p) -> boolean       it pays for nothing any more: its money goes back
--
-- It stands under `till` in the payment's data. A client cannot say it: what it gives there is
-- dropped. The policy is frozen, for the provider may be gone, or say otherwise, when the order is
-- placed; without it an order would be placed whose money nobody ever captures.
local err = require "till.util.err"
local json = require "till.prim.json"

local kept = {}


function kept.given(data)
  return data ~= json.null and data or nil
end


local function without(data, out)
  for key, value in pairs(data or {}) do
    if key ~= "till" then out[key] = value end
  end
  return out
end


function kept.for_provider(data)
  return without(data, {})
end


function kept.begin(data, offer, part, order_id)
  local out = without(data, {})
  out.till = offer and { policy = { capture = offer.capture, offline = offer.offline },
    part = part, order = order_id } or nil
  return out
end


function kept.with(data, more)
  local out = without(more, without(data, {}))
  out.till = data and data.till
  return out
end


-- It is read with the others at each completion.
local MOST_DATA = 16384


function kept.fits(data, more)
  if more ~= nil then data = kept.with(data, more) end
  local size = data ~= nil and #json.encode(data) or 0
  if size <= MOST_DATA then return true end
  local why = ("%d bytes of JSON, where %d are taken"):format(size, MOST_DATA)
  return nil, err.new("invalid_request", why, { errors = { { pointer = "/data", detail = why,
    code = "too_long" } } })
end


local function of(p)
  return type(p.data) == "table" and type(p.data.till) == "table" and p.data.till or {}
end


function kept.policy(p)
  return of(p).policy
end


function kept.part(p)
  return of(p).part
end


function kept.order(p)
  return of(p).order
end


function kept.is_let_go(p)
  return of(p).let_go ~= nil
end


return kept
