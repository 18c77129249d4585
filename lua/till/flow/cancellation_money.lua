-- till/flow/cancellation_money - what of a cancellation, return or refund goes back, and of what.
--
--   of_order(tx or nil, order_id) -> payment, or the last-made and all of several | false: none |
--                       nil, err
--   add(tx, order, c, p, paid, found) -> true, left | nil, err     the money of c: amount, money,
--                       released_amount, payment_id or shares, state. p and paid of of_order; found
--                       of till.flow.cancellation_figures; left: what was captured and held, nil
--                       where nothing was captured. Refused (409) where the provider cannot
--
-- Minor units, under the lock of the order. What was never paid, for an authorization was lost, is
-- not given back: c.unpaid is what is owed no more, of the released_amount; c.let_go is the rest of
-- that, which payments are to let go of, and c.owed what else of the order was never paid.
local cancellations = require "till.store.cancellations"
local capabilities = require "till.flow.capabilities"
local figures = require "till.flow.cancellation_figures"
local payments = require "till.store.payments"
local rest = require "till.flow.cancellation_rest"
local shares = require "till.flow.cancellation_shares"
local states = require "till.flow.order_states"

local money = {}


local function was_captured(p)
  return p and payments.was_captured(p)
end


local function payment_of(tx, order_id)
  local list, e = payments.of_order(order_id, tx)
  if not list then return nil, e end
  for _, p in ipairs(list) do
    if p.state == "authorized" or was_captured(p) and p.state ~= "refunded" then return p end
  end
  for _, p in ipairs(list) do
    if p.state == "refunded" then return p end
  end
  return false
end


-- What has to be done about the money of it.
local function money_of(p, amount, whole)
  if not p then return "none" end
  if was_captured(p) then return amount > 0 and "refund" or "none" end
  if whole or amount > 0 and payments.to_capture(p) == amount then return "void" end
  return amount > 0 and "lowered" or "none"
end


-- -> nil, or why the provider cannot do it
local function cannot(p, what, amount)
  if not p then return nil end
  if what == "refund" and amount < payments.to_capture(p)
    and not capabilities.can(p.provider, "partial_refund") then
    return p.provider .. " gives back all of a payment or nothing: cancel or return all of it"
  elseif what == "lowered" and not capabilities.can(p.provider, "partial_capture") then
    return p.provider .. " captures all of a payment or nothing: capture it first, or cancel all"
  end
end


local PROVIDER = { void = true, refund = true }


-- What a bank took back for good he has: units whose money that was are no loss any more. Then
-- what was given back as goodwill stands in.
local function stand_in(tx, order, p, found, missing)
  local lost, e = figures.balance(tx, order.id, "losses:" .. p.provider)
  if not lost then return nil, e end
  local given, e2 = figures.balance(tx, order.id, "goodwill")
  if not given then return nil, e2 end
  found.losses = "losses:" .. p.provider
  found.made_good = math.min(missing, lost)
  found.absorbed = math.min(missing - found.made_good, given)
  return true
end


-- Never more than the shop has of it, and may have.
-- -> amount, left | nil, err
local function fitted(tx, order, p, found)
  local wanted = found.total - found.unpaid
  if not was_captured(p) then return wanted end
  local due, e = cancellations.due(tx, p.id)
  if not due then return nil, e end
  local left = math.max(0, payments.to_capture(p) - p.disputed_amount - p.lost_amount - due)
    + payments.left(p)
  if found.goodwill or wanted <= left then return wanted, left end
  local ok, e2 = stand_in(tx, order, p, found, wanted - left)
  if not ok then return nil, e2 end
  return left, left
end


-- -> the money of c, what was captured and is left | nil, err
local function add_one(tx, order, c, p, found)
  local amount, left = fitted(tx, order, p, found)
  if not amount then return nil, left end
  local released = rest.part_of(c.kind, p, amount, left)
  c.amount, c.released_amount = amount, released
  c.money = released > 0 and released == amount and "lowered"
    or money_of(p, amount - released, c.whole)
  c.payment_id, c.state = p and p.id or nil, PROVIDER[c.money] and "pending" or "done"
  local cannot_be = cannot(p, c.money, amount - released)
  if cannot_be then return states.refuse(order, cannot_be) end
  return true, left
end


-- The same of several payments.
local function add_shares(tx, order, c, paid, found)
  local list, amount, left = shares.split(tx, order, paid, found, c.whole)
  if not list then return nil, amount end
  c.amount = amount
  shares.sum_up(c, list)
  for _, share in ipairs(list) do
    local cannot_be = cannot(share.payment, share.money, share.amount - share.released)
    if cannot_be then return states.refuse(order, cannot_be) end
  end
  return true, left
end


-- -> payment, or the last-made and all of several | false: none | nil, err
function money.of_order(tx, order_id)
  local paid, e = shares.of_order(tx, order_id)
  if paid == nil then return nil, e end
  if paid then return paid[1] or false, paid end
  return payment_of(tx, order_id)
end


function money.add(tx, order, c, p, paid, found)
  local unpaid, e = figures.unpaid(tx, order)
  if not unpaid then return nil, e end
  found.unpaid = found.goodwill and 0 or math.min(unpaid, found.total)
  c.unpaid, c.owed = found.unpaid, unpaid - found.unpaid
  local ok, left = (paid and add_shares or add_one)(tx, order, c, paid or p, found)
  if not ok then return nil, left end
  c.let_go = c.released_amount
  c.amount, c.released_amount = c.amount + c.unpaid, c.released_amount + c.unpaid
  return true, left
end


return money
