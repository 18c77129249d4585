-- till/flow/payment_confirmed - which payment sessions did the shopper see when he completed?
--
--   of(cart_id, state or nil) -> ids, newest first | nil, err    state: what the completion has
--                       read of the cart (till.store.checkouts), nil where it may be old
--   note(list, data) -> boolean    the shopper is here and has seen these: has data changed?
--   only(list, data, left_at) -> those of the list that may be sent by who resumes a flow; data:
--                       the flow's, with `confirmed`; left_at: when its row was written last,
--                       before it was taken over
--
-- Nobody is charged for a session that he has begun and not confirmed. A flow that goes on without
-- him, by the jobs worker or a provider's word, sends none of those that came after he asked for it
-- last; one that was sent already is asked about, whatever it was.
local payments = require "till.store.payments"
local time = require "till.prim.time"

local confirmed = {}

local SEEN = 2 -- so many a completion has read at most; beside them there may be more


local function ids_of(list)
  local out = {}
  for _, p in ipairs(list) do
    if p.state == "created" then out[#out + 1] = p.id end
  end
  return out
end


function confirmed.of(cart_id, state)
  if state and #state.payments < SEEN then return ids_of(state.payments) end
  local list, e = payments.of_cart(cart_id)
  return list and ids_of(list), e
end


function confirmed.note(list, data)
  local was, now = data.confirmed or {}, ids_of(list)
  data.confirmed = now
  return table.concat(was, " ") ~= table.concat(now, " ")
end


-- A flow of a version before this one has written down none: he has seen what was there when it was
-- left, for it is left as he asks.
local function is_old(data)
  return not (data.confirmed or data.payments or data.payment_id)
end


function confirmed.only(list, data, left_at)
  local may, out = {}, {}
  for _, id in ipairs(data.confirmed or {}) do may[id] = true end
  for _, id in ipairs(data.payments or { data.payment_id }) do may[id] = true end
  local until_ms = left_at and is_old(data) and time.parse(left_at)
  for _, p in ipairs(list) do
    local was_there = until_ms and time.parse(p.created_at) <= until_ms
    if p.state ~= "created" or may[p.id] or was_there then out[#out + 1] = p end
  end
  return out
end


return confirmed
