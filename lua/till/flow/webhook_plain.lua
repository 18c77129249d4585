-- till/flow/webhook_plain - a subject of the inbox of which no more is to be told than captures and
-- refunds of a payment that has an order: most are so.
--
--   book(group, claim, answer, payment) -> true | false: the careful way | nil, err
--                      group, claim and answer as till.flow.webhook_apply has them, which knows that
--
-- It is thought about without holding anything, and written as one script under the condition that
-- all is still as it was read. The scripts of all subjects that are under way in this worker go
-- together, in one transaction (till.store.script); one that does not fit takes itself out of it.
-- Whatever was refused, or has failed, has changed nothing, and goes the careful way alone.
local booking_script = require "till.flow.booking_script"
local fault = require "till.prim.fault"
local log = require "till.prim.log"
local script = require "till.store.script"
local webhook_due = require "till.flow.webhook_due"
local webhooks_store = require "till.store.webhooks"

local webhook_plain = {}

local KEY = "webhooks"


local function add_all(s, seen, events)
  for _, event in ipairs(events) do
    event.actor = "provider:" .. seen.payment.provider
    local done = booking_script.add(s, seen, event)
    if not done then return false end
    event.is_booked = done == "booked"
  end
  return true
end


local function log_booked(group, p, events)
  for _, event in ipairs(events) do
    if event.is_booked then
      log.info("webhook.booked", { provider = group.provider, payment_id = p.id,
        kind = event.kind })
    end
  end
end


-- -> script, events | false: not plain | nil, err
local function prepare(group, claim, answer, p)
  local seen, e = booking_script.read(p)
  if not seen then return nil, e end
  if not seen.now or webhook_due.another_capture(answer, p, seen.now) then return false end
  local events, e2 = webhook_due.due(answer, p, seen.now, seen.list)
  if not events then return nil, e2 end
  local s = script.new()
  s:together(KEY)
  if events[1] then booking_script.guard(s, seen) end
  if not add_all(s, seen, events) then return false end
  webhooks_store.settle_in(s, group.ids, claim, p.id, booking_script.CHANGED)
  return s, events
end


function webhook_plain.book(group, claim, answer, p)
  if answer.failed and answer.failed[1] then return false end
  local s, events = prepare(group, claim, answer, p)
  if not s then return s, events end
  fault.crash "webhook.before_commit"
  local row, why = s:run()
  -- a lost answer to COMMIT may have been a yes: asked again it finds what was booked
  if row == nil and why.unknown_outcome then return nil, why end
  if not row then return false end
  fault.crash "webhook.after_commit"
  log_booked(group, p, events)
  return true
end


return webhook_plain
