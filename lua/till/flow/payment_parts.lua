-- till/flow/payment_parts - several sessions that pay for one cart together.
--
--   chosen(list, total, currency) -> sessions that pay for it, oldest first; `list` newest first,
--                       as till.store.payments has them. None, one for all of it, or parts
--   paid(list, currency) -> those parts of which the money is there, oldest first
--   are(set) -> boolean           is it a set of parts?
--   sum(set) -> minor units
--   room(list, cart, amount or nil) -> { amount, part } | nil, err     what a new session is to
--                       be of: one of `amount` { amount, currency }, or of all that is left
--   check(set, total, currency) -> true | nil, err(cart_incomplete)    do they come to the total?
--
-- Pure. How they stand beside each other:
--
--   a part          names an amount less than the total
--   the rest        names none, where there are parts already: it is of what they leave
--   all of it       names none, or the total: it takes the place of everything before it, and any
--                   part that is begun later takes its place
--
-- A rest that nobody has paid gives way to any part that is begun later, for it is of another
-- amount then. What is authorized stays until it is taken back: it is money that is held.
local err = require "till.util.err"
local kept = require "till.flow.payment_kept"

local parts = {}

parts.MOST = 5
parts.MOST_BEGUN = 50 -- of one cart, whatever became of them: each completion reads them all

local LIVE = { created = true, sending = true, unknown = true, requires_action = true,
  authorized = true, captured = true, won = true }
local UNPAID = { created = true, requires_action = true }
local PAID = { authorized = true, captured = true, won = true }

parts.LIVE, parts.PAID = LIVE, PAID


local function is_live(p, currency)
  return LIVE[p.state] and p.currency == currency and not kept.is_let_go(p)
end


function parts.are(set)
  return set[1] ~= nil and kept.part(set[1]) ~= nil
end


function parts.sum(set)
  local sum = 0
  for _, p in ipairs(set) do sum = sum + p.amount end
  return sum
end


local function gives_way(p, set)
  return set[1] ~= nil and kept.part(p) == "rest" and UNPAID[p.state]
end


local function stand(list, total, currency)
  local set = {}
  for _, p in ipairs(list) do
    if is_live(p, currency) then
      if kept.part(p) then
        if not gives_way(p, set) then table.insert(set, 1, p) end
      elseif set[1] then
        return set
      elseif p.amount == total then
        return { p }
      end
    end
  end
  return set
end


function parts.paid(list, currency)
  local set = {}
  for _, p in ipairs(list) do
    if is_live(p, currency) and kept.part(p) and PAID[p.state] then table.insert(set, 1, p) end
  end
  return set
end


-- What was paid already pays, where it is enough, whatever was begun beside it.
function parts.chosen(list, total, currency)
  local set = stand(list, total, currency)
  if not parts.are(set) or parts.sum(set) == total then return set end
  local paid = {}
  for _, p in ipairs(set) do
    if PAID[p.state] then paid[#paid + 1] = p end
  end
  return parts.sum(paid) == total and paid or set
end


local function wrong(pointer, why, code)
  return nil, err.new("invalid_request", why, { errors = { { pointer = pointer, detail = why,
    code = code } } })
end


-- Beside which the new one is to stand.
local function beside(list, cart)
  local out = {}
  for _, p in ipairs(parts.chosen(list, cart.priced.total, cart.currency)) do
    if kept.part(p) and not (kept.part(p) == "rest" and UNPAID[p.state]) then out[#out + 1] = p end
  end
  return out
end


local function of_amount(amount, left, cart)
  if amount.currency ~= cart.currency then
    return wrong("/amount/currency", "the cart is priced in " .. cart.currency, "currency")
  elseif amount.amount > left then
    return wrong("/amount/amount", ("only %d of %d is left to be paid"):format(math.max(0, left),
      cart.priced.total), "range")
  end
  return { amount = amount.amount, part = "part" }
end


function parts.room(list, cart, amount)
  if #list >= parts.MOST_BEGUN then
    return nil, err.new("conflict", ("%d payment sessions were begun for this cart, no further one"
      .. " is: put what it holds into a new cart"):format(#list))
  end
  local total, others = cart.priced.total, beside(list, cart)
  if amount and amount.amount < 1 then
    return wrong("/amount/amount", "a session is of 1 or more", "range")
  elseif amount and amount.amount == total and amount.currency == cart.currency then
    return { amount = total }
  end
  local left = total - parts.sum(others)
  local room, e = { amount = others[1] and left or total, part = others[1] and "rest" or nil }, nil
  if amount then room, e = of_amount(amount, left, cart) end
  if not room then return nil, e end
  if not room.part then return room end
  if left <= 0 then
    return nil, err.new("conflict", "the payment sessions of the cart pay for all of it already:"
      .. " delete one of them first")
  elseif #others >= parts.MOST then
    return nil, err.new("conflict", ("a cart takes %d payment sessions: delete one of them first")
      :format(parts.MOST))
  end
  return room
end


-- Nothing of it is taken back for that: he chooses how to pay what is missing.
function parts.check(set, total, currency)
  local off = total - parts.sum(set)
  if off == 0 then return true end
  local why = off > 0
    and ("the payment sessions come to %d %s less than the total: begin another one for it")
      :format(off, currency)
    or ("the payment sessions come to %d %s more than the total: delete one of them")
      :format(-off, currency)
  return nil, err.new("cart_incomplete", why, { for_shopper = true, errors = { { detail = why,
    pointer = "/payment_sessions", code = off > 0 and "too_little" or "too_much" } } })
end


return parts
