-- till/flow/captures - a payment is captured in parts.
--
--   take(payment_id, wish, actor, transaction) -> what transaction returned | nil, err
--       wish { amount = minor units or nil: all that is left, currency, final = let go of the rest,
--       request: what makes one request of its repetitions }. Without an amount, of a payment of
--       which nothing was captured yet, it is till.flow.order's capture
--   go_on(capture, transaction [, is_job]) -> the same    of one without an outcome
--   end_open(payment) -> true | nil, err     ends whatever capture of it has no outcome
--   ended(tx, capture) -> payment | nil, err    after it was booked
--   is_busy(tx, payment) -> boolean | nil, err    is there one?    takes(payment) -> boolean    may
--                                      anything be captured of what is so, and not let go of?
--   may_be_busy(payment) -> boolean    its row alone says that there is none
--   intend(tx, payment, amount), go_on_later(tx, capture [, delay_ms])    of one that is written
--                                            down now; for till.flow.capture_queue
--
-- A part, where it dies: what is to be captured is written down in `captures`, under the lock of
-- the order, before the provider is asked; its id makes the key that it is asked under. While it
-- has no outcome no other part of this payment is begun: who wants one has it ended first. So two
-- at once never come to more than was authorized. An event of the outbox goes on with it where
-- nobody comes back. It is booked once, by who moves its row from `asked` to `done`. The rest is
-- let go of with the decision, before the provider is asked: a part that he declines then does not
-- bring it back.
local booking = require "till.flow.booking"
local capture_alerts = require "till.flow.capture_alerts"
local capabilities = require "till.flow.capabilities"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local kept = require "till.flow.payment_kept"
local order_flow = require "till.flow.order"
local orders = require "till.store.orders"
local outbox = require "till.prim.outbox"
local parts = require "till.flow.capture_parts"
local payment_events = require "till.store.payment_events"
local payments = require "till.store.payments"
local sql = require "till.prim.sql"
local states = require "till.flow.order_states"
local store = require "till.store.captures"
local time = require "till.prim.time"

local captures = {}

local FIRST_LOOK_MS = 5000
local SECOND_MS = 1000 -- providers tell when by the second


local function invalid(pointer, detail, code)
  return nil, err.new("invalid_request", detail,
    { errors = { { pointer = pointer, detail = detail, code = code or "range" } } })
end


local function check_amount(p, wish, left)
  if not wish.amount then return true end
  if wish.currency ~= p.currency then
    return invalid("/amount/currency", "the payment is in " .. p.currency, "currency")
  elseif wish.amount < 1 then
    return invalid("/amount/amount", "the amount has to be more than 0")
  elseif left > 0 and wish.amount > left then
    return invalid("/amount/amount", ("only %d is left to be captured"):format(left))
  end
  return true
end


-- -> nil, or what the provider cannot do and what to do instead
local function cannot(p, amount, left, is_last)
  if amount < left and not capabilities.can(p.provider, "partial_capture") then
    return ("%s captures all of a payment or nothing: leave `amount` out, and refund what is too"
      .. " much"):format(p.provider)
  elseif capabilities.can(p.provider, "multiple_captures") then
    return nil
  elseif payments.was_captured(p) then
    return ("%s captures a payment once, and has: ask the shopper for another payment")
      :format(p.provider)
  elseif not is_last then
    return ("%s captures a payment once: leave `amount` out to take all of it, or say `final` to"
      .. " let go of the other %d"):format(p.provider, left - amount)
  end
end


-- One that was won is as captured.
local TAKES = { authorized = true, captured = true, won = true }


function captures.takes(p)
  return TAKES[p.state] and not kept.is_let_go(p) or false
end


-- -> amount, is it the last one | nil, err
local function allow(order, p, wish)
  local left = payments.left(p)
  local ok, e = check_amount(p, wish, left)
  if not ok then return nil, e end
  if not captures.takes(p) then
    return states.refuse(order, "a payment that is " .. p.state .. " cannot be captured")
  elseif left == 0 then
    return states.refuse(order, "nothing is left to be captured")
  end
  if order.status == "cancelled" then return states.refuse(order, "the order is cancelled") end
  local amount = wish.amount or left
  local is_last = wish.final or amount == left
  local why = cannot(p, amount, left, is_last)
  if why then return states.refuse(order, why) end
  return amount, is_last
end


local function let_go(tx, order_id, p, amount, actor)
  if amount == 0 then return true end
  local ok, e = payments.release(tx, p.id, amount)
  if not ok then return nil, e end
  return orders.event(tx, order_id, "voided", actor, { payment_id = p.id, amount = amount })
end


-- Queued parts of a payment come one after the other; nothing of the order waits for its provider.
function captures.go_on_later(tx, c, delay_ms)
  local aggregate = delay_ms and "capture:" .. c.id or "payment:" .. c.payment_id
  return outbox.append(tx, { { aggregate = aggregate, type = "payment.capture_part",
    payload = { capture_id = c.id, payment_id = c.payment_id, order_id = c.order_id },
    delay_ms = delay_ms } })
end


-- The first one stands in the payment's row as well: whoever looks there knows of it.
function captures.intend(tx, p, amount)
  if p.state ~= "authorized" then return true end
  return payments.intend(tx, p.id, amount)
end


function captures.is_busy(tx, p)
  if p.state == "authorized" then return p.capture_amount ~= nil end
  local part, e = store.asked(p.id, tx)
  if part == nil then return nil, e end
  return part ~= false
end


--- Nothing may be left where a provider has told of a part before its answer was heard.
function captures.may_be_busy(p)
  if p.state == "authorized" then return p.capture_amount ~= nil and payments.left(p) > 0 end
  return payments.was_captured(p) and p.state ~= "refunded"
end


local function write(tx, p, wish, actor, amount, is_last)
  local ok, e = true, nil
  if is_last then
    ok, e = let_go(tx, p.order_id, p, payments.left(p) - amount, actor)
  end
  if not ok then return nil, e end
  local since, e2 = payment_events.last(tx, p.id)
  if not since then return nil, e2 end
  local c, e3 = store.create(tx, { payment_id = p.id, order_id = p.order_id, amount = amount,
    request = wish.request, final = is_last, state = "asked", since = since, actor = actor })
  if not c then return nil, e3 end
  ok, e = captures.intend(tx, p, amount)
  if ok then ok, e = captures.go_on_later(tx, c, FIRST_LOOK_MS) end
  if not ok then return nil, e end
  return c
end


local function is_another(known, wish)
  return wish.amount ~= nil and wish.amount ~= known.amount
end


-- Under the lock of the order -> capture | false: another one has no outcome yet | nil, err
local function decide(tx, order_id, payment_id, wish, actor)
  local order, e = order_flow.locked(tx, order_id)
  if not order then return nil, e end
  local known, e2 = store.by_request(payment_id, wish.request, tx)
  if known == nil then return nil, e2 end
  if known and is_another(known, wish) then
    return nil, err.new("idempotency_key_reused",
      "This Idempotency-Key was used with another body. Make a new key for a new request.")
  end
  if known then return known end
  local p, e3 = payments.get(payment_id, tx)
  if not p then return nil, e3 end
  local busy, e4 = captures.is_busy(tx, p)
  if busy == nil then return nil, e4 end
  if busy then return false end
  local amount, is_last = allow(order, p, wish)
  if not amount then return nil, is_last end
  return write(tx, p, wish, actor, amount, is_last)
end


local function refused(c, reason)
  return nil, err.new("payment_declined", "the provider refused: " .. tostring(reason or c.reason),
    { final = true })
end


-- What stands in the payment's row goes with it: the next one may have another amount.
-- -> the part: where somebody else has ended it meanwhile, as he has
local function book_refusal(c, e, is_job)
  return sql.transaction(function(tx)
    local order, e2 = order_flow.locked(tx, c.order_id)
    if not order then return nil, e2 end
    local first, e3 = store.refuse(tx, c.id, e.reason)
    if first == nil then return nil, e3 end
    if not first then return store.get(c.id, tx) end
    local p, e4 = payments.get(c.payment_id, tx)
    if not p then return nil, e4 end
    local ok, e5 = true, nil
    if p.state == "authorized" then ok, e5 = payments.decline(p, tx) end
    if ok and is_job then
      ok, e5 = capture_alerts.by_job(tx, p, c, e.message)
    end
    return ok and c, e5
  end)
end


-- -> answer | nil, err
local function ask(c, p, is_job)
  fault.crash "capture_part.before_ask"
  local answer, e = parts.ask_capture(p, c)
  if answer then
    fault.crash "capture_part.after_ask"
    return answer
  end
  if err.is(e, "payment_declined") then
    local now, e2 = book_refusal(c, e, is_job)
    if not now then return nil, e2 end
    if now.state == "done" then return {} end
  end
  return nil, e
end


-- The last one that was not asked for as such: what was let go of before is held there still.
function captures.ended(tx, c)
  local p, e = payments.get(c.payment_id, tx)
  if not p or c.final or p.released_amount == 0 then return p, e end
  local ok, e2 = require("till.flow.capture_queue").let_go(tx, p)
  return ok and p, e2
end


-- The provider may have told of it already: it is booked once.
local function book(tx, c, answer)
  local order, e = order_flow.locked(tx, c.order_id)
  if not order then return nil, e end
  local first, e2 = store.done(tx, c.id)
  if first == nil then return nil, e2 end
  if first then
    local asked_ms = time.parse(c.asked_at or c.created_at)
    local ok, e3 = booking.own(tx, c.payment_id, { kind = "captured", amount = c.amount,
      reference = answer.capture_ref, actor = c.actor, since = c.since,
      since_ms = math.floor(asked_ms / SECOND_MS) * SECOND_MS, about = { capture_id = c.id } })
    if not ok then return nil, e3 end
    return captures.ended(tx, c)
  end
  local now, e3 = store.get(c.id, tx)
  if not now then return nil, e3 end
  if now.state ~= "done" then
    return nil, err.new("unknown_outcome", "the capture was refused, and is there all the same:"
      .. " look at the provider", { final = true })
  end
  return payments.get(c.payment_id, tx)
end


function captures.go_on(c, transaction, is_job)
  transaction = transaction or sql.transaction
  if c.state == "refused" then return refused(c) end
  local answer = {}
  if c.state == "asked" then
    local p, e = payments.get(c.payment_id)
    if not p then return nil, e end
    answer, e = ask(c, p, is_job)
    if not answer then return nil, e end
  end
  local done, e = transaction(function(tx) return book(tx, c, answer) end)
  if done == nil and err.is(e, "conflict") and e.reason then
    local ok, e2 = capture_alerts.does_not_fit(c, e)
    if not ok then return nil, e2 end
  end
  return done, e
end


-- A part of its own, or a capture of all that is held.
function captures.end_open(p)
  local part, e = store.asked(p.id)
  if part == nil then return nil, e end
  local ok, e2 = true, nil
  if part then
    ok, e2 = captures.go_on(part)
  elseif p.state == "authorized" and p.capture_amount then
    ok, e2 = order_flow.go_on(p.id)
  end
  if ok ~= nil or err.is(e2, "payment_declined") then return true end
  return nil, e2
end


local ATTEMPTS = 3


local function decided(payment_id, order_id, wish, actor)
  for _ = 1, ATTEMPTS do
    local c, e = sql.transaction(function(tx)
      return decide(tx, order_id, payment_id, wish, actor)
    end)
    if c or c == nil then return c, e end
    local p, e2 = payments.get(payment_id)
    if not p then return nil, e2 end
    local ok, e3 = captures.end_open(p)
    if not ok then return nil, e3 end
  end
  return nil, err.new("busy", "another capture of this payment has no outcome yet; try again",
    { retryable = true })
end


local function is_part(p, wish)
  if wish.amount or wish.final then return true end
  if payments.was_captured(p) and payments.left(p) > 0 then return true end
  local known, e = store.by_request(p.id, wish.request)
  if known == nil then return nil, e end
  return known ~= false
end


function captures.take(payment_id, wish, actor, transaction)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p then return nil, err.new("not_found", "there is no such payment") end
  local part, e2 = is_part(p, wish)
  if part == nil then return nil, e2 end
  if not part then return order_flow.capture(payment_id, actor, transaction) end
  if not p.order_id then
    return nil, err.new("conflict", "the payment belongs to no order yet")
  end
  local c, e3 = decided(payment_id, p.order_id, wish, actor)
  if not c then return nil, e3 end
  fault.crash "capture_part.after_decide"
  return captures.go_on(c, transaction)
end


return captures
