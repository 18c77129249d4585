-- till/flow/cancellation_shares - of which of several payments the money of a cancellation, return
-- or refund goes back.
--
--   of_order(tx or nil, order_id) -> payments, the last-made first | false: it has not several
--   split(tx, order, paid, found, whole) -> shares, amount, left | nil, err    under the lock of
--       the order; found as till.flow.cancellation_figures has it; shares { { payment, amount,
--       money } }. amount: what goes back or is not owed any more; left: what could, nil where
--       nothing was captured
--   sum_up(c, shares)   money, state and to_refund of the whole
--   create(tx, c) -> rows | nil, err    c.shares as rows of till.store.cancellations, c's own first
--
-- Always the same way, whoever asks and in what order: first what is held and not captured, then
-- what was captured, of each the last-made payment first, up to what it has. So the shopper's first
-- payment is the last to be touched, and nothing is given back that need not be taken. A payment
-- that is let go of whole is voided; of another less will be captured.
local cancellations = require "till.store.cancellations"
local figures = require "till.flow.cancellation_figures"
local kept = require "till.flow.payment_kept"
local payments = require "till.store.payments"

local shares = {}

local ASKED = { void = true, refund = true } -- of the provider


function shares.of_order(tx, order_id)
  local list, e = payments.of_order(order_id, tx)
  if not list then return nil, e end
  if not list[2] or not kept.part(list[1]) then return false end
  local out = {}
  for _, p in ipairs(list) do
    if p.state == "authorized" or payments.was_captured(p) then out[#out + 1] = p end
  end
  return out
end


local function room_of(tx, p)
  if p.state == "authorized" then return payments.to_capture(p) end
  local due, e = cancellations.due(tx, p.id)
  if not due then return nil, e end
  return math.max(0, payments.to_capture(p) - p.disputed_amount - p.lost_amount - due)
end


-- -> { payment -> what it has }, the sum, was any captured? | nil, err
local function rooms(tx, paid)
  local room, sum, any = {}, 0, false
  for _, p in ipairs(paid) do
    local n, e = room_of(tx, p)
    if not n then return nil, e end
    room[p], sum, any = n, sum + n, any or payments.was_captured(p)
  end
  return room, sum, any
end


-- What banks took back for good the shopper has; then what was given back as goodwill.
local function stand_in(tx, order, paid, found, missing)
  local seen = {}
  found.made_good, found.losses_of = 0, {}
  for _, p in ipairs(paid) do
    local account = "losses:" .. p.provider
    local lost, e = seen[account] and 0 or nil, nil
    if not lost then lost, e = figures.balance(tx, order.id, account) end
    if not lost then return nil, e end
    local n = math.min(missing - found.made_good, lost)
    seen[account], found.made_good = true, found.made_good + n
    if n > 0 then table.insert(found.losses_of, { account, -n }) end
  end
  local given, e = figures.balance(tx, order.id, "goodwill")
  if not given then return nil, e end
  found.absorbed = math.min(missing - found.made_good, given)
  return true
end


local function take(out, p, amount, money)
  out[#out + 1] = { payment = p, amount = amount, money = money }
  return amount
end


local function split(paid, room, amount, whole)
  local out, rest = {}, amount
  for _, p in ipairs(paid) do
    local n = math.min(rest, room[p])
    if p.state == "authorized" and room[p] > 0 and (n > 0 or whole) then
      rest = rest - take(out, p, n, (whole or n == room[p]) and "void" or "lowered")
    end
  end
  for _, p in ipairs(paid) do
    local n = math.min(rest, room[p])
    if p.state ~= "authorized" and n > 0 then rest = rest - take(out, p, n, "refund") end
  end
  return out
end


function shares.split(tx, order, paid, found, whole)
  local room, left, any = rooms(tx, paid)
  if not room then return nil, left end
  local amount = found.total
  if any and not found.goodwill and amount > left then
    local ok, e = stand_in(tx, order, paid, found, amount - left)
    if not ok then return nil, e end
    amount = left
  end
  return split(paid, room, amount, whole), amount, any and left or nil
end


local RANK = { none = 0, lowered = 1, void = 2, refund = 3 }


function shares.sum_up(c, list)
  c.shares, c.money, c.state, c.to_refund = list, "none", "done", 0
  for _, share in ipairs(list) do
    if RANK[share.money] > RANK[c.money] then c.money = share.money end
    if share.money == "refund" then c.to_refund = c.to_refund + share.amount end
    if ASKED[share.money] then c.state = "pending" end
  end
end


local function row_of(c, share, own)
  local row = { kind = c.kind, order_id = c.order_id, currency = c.currency, reason = c.reason,
    actor = c.actor, amount = share.amount, money = share.money, payment_id = share.payment.id,
    state = ASKED[share.money] and "pending" or "done", whole = false, lines = {} }
  if own then
    row.id, row.request, row.whole = c.id, c.request, c.whole
    row.lines, row.shipping = c.lines, c.shipping
  else
    row.part_of = c.id
  end
  return row
end


-- Of nothing there is no share: the row of the cancellation stands by itself.
function shares.create(tx, c)
  local rows = {}
  for i, share in ipairs(c.shares) do
    local row = row_of(c, share, i == 1)
    local ok, e = cancellations.create(tx, row)
    if ok and share.money ~= "refund" then
      ok, e = payments.release(tx, row.payment_id, row.amount)
    end
    if not ok then return nil, e end
    c.id, c.created_at, rows[i] = c.id or row.id, c.created_at or row.created_at, row
  end
  if rows[1] then return rows end
  local ok, e = cancellations.create(tx, c)
  if not ok then return nil, e end
  return { c }
end


return shares
