-- till/flow/cancellation_shares - of which of several payments the money of a cancellation, return
-- or refund goes back.
--
--   of_order(tx or nil, order_id) -> payments, the last-made first | false: it has not several
--   split(tx, order, paid, found, whole) -> shares, amount, left | nil, err    under the lock of
--       the order; found as till.flow.cancellation_figures has it; shares { { payment, amount,
--       released, money } }, released: what of it was not captured yet of one that was in part.
--       amount: what goes back or is not owed any more; left: what could, nil where nothing was
--       captured
--   sum_up(c, shares)   money, state and to_refund of the whole
--   create(tx, c) -> rows | nil, err    c.shares, if any, as rows of till.store.cancellations, c's
--       own first
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
  local newest = list[1]
  if not list[2] or not kept.part(newest) and not kept.order(newest) then return false end
  local out = {}
  for _, p in ipairs(list) do
    if p.state == "authorized" or payments.was_captured(p) then out[#out + 1] = p end
  end
  return out
end


-- What was captured of it and does not go back yet.
local function taken_of(tx, p)
  if p.state == "authorized" then return 0 end
  local due, e = cancellations.due(tx, p.id)
  if not due then return nil, e end
  return math.max(0, payments.to_capture(p) - p.disputed_amount - p.lost_amount - due)
end


-- -> { payment -> { held, taken } }, the sum, was any captured? | nil, err
local function rooms(tx, paid)
  local room, sum, any = {}, 0, false
  for _, p in ipairs(paid) do
    local taken, e = taken_of(tx, p)
    if not taken then return nil, e end
    local held = p.state == "authorized" and payments.to_capture(p) or payments.left(p)
    room[p] = { held = held, taken = taken }
    sum, any = sum + held + taken, any or payments.was_captured(p)
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


local function money_of(p, share, room, whole)
  if share.taken > 0 then return "refund" end
  if p.state ~= "authorized" then return "lowered" end
  return (whole or share.held == room.held) and "void" or "lowered"
end


local function split(paid, room, amount, whole)
  local out, of, rest = {}, {}, amount
  for _, what in ipairs { "held", "taken" } do
    for _, p in ipairs(paid) do
      of[p] = of[p] or {}
      of[p][what] = math.min(rest, room[p][what])
      rest = rest - of[p][what]
    end
  end
  for _, p in ipairs(paid) do
    local share = of[p]
    local is_let_go = whole and p.state == "authorized" and room[p].held > 0
    if share.held + share.taken > 0 or is_let_go then
      out[#out + 1] = { payment = p, amount = share.held + share.taken,
        released = p.state == "authorized" and 0 or share.held,
        money = money_of(p, share, room[p], whole) }
    end
  end
  return out
end


function shares.split(tx, order, paid, found, whole)
  local room, left, any = rooms(tx, paid)
  if not room then return nil, left end
  local amount = found.total - found.unpaid
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
  c.released_amount = 0
  for _, share in ipairs(list) do
    if RANK[share.money] > RANK[c.money] then c.money = share.money end
    c.released_amount = c.released_amount + share.released
    if share.money == "refund" then c.to_refund = c.to_refund + share.amount - share.released end
    if ASKED[share.money] then c.state = "pending" end
  end
end


local function row_of(c, share, own)
  local row = { kind = c.kind, order_id = c.order_id, currency = c.currency, reason = c.reason,
    actor = c.actor, amount = share.amount, released_amount = share.released,
    money = share.money, payment_id = share.payment.id, let_go = share.released,
    state = ASKED[share.money] and "pending" or "done", whole = false, lines = {} }
  if own then
    row.id, row.request, row.whole = c.id, c.request, c.whole
    row.lines, row.shipping = c.lines, c.shipping
  else
    row.part_of = c.id
  end
  return row
end


-- What was never paid is of no payment: a part of its own, so that the share of none has it.
local function unpaid_of(c)
  return { kind = c.kind, order_id = c.order_id, currency = c.currency, reason = c.reason,
    actor = c.actor, amount = c.unpaid, released_amount = c.unpaid, money = "none", let_go = 0,
    state = "done", whole = false, lines = {}, part_of = c.id }
end


-- Of nothing there is no share: the row of the cancellation stands by itself.
function shares.create(tx, c)
  local rows = {}
  for i, share in ipairs(c.shares or {}) do
    local row = row_of(c, share, i == 1)
    local ok, e = cancellations.create(tx, row)
    if ok and share.payment.state == "authorized" then
      ok, e = payments.release(tx, row.payment_id, share.amount)
    end
    if not ok then return nil, e end
    c.id, c.created_at, rows[i] = c.id or row.id, c.created_at or row.created_at, row
  end
  if rows[1] and c.unpaid == 0 then return rows end
  if rows[1] then
    rows[#rows + 1] = unpaid_of(c)
    local ok, e = cancellations.create(tx, rows[#rows])
    return ok and rows, e
  end
  local ok, e = cancellations.create(tx, c)
  if not ok then return nil, e end
  return { c }
end


return shares
