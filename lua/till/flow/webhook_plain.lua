-- till/flow/webhook_plain - a subject of the inbox of which no more is to be told than captures and
-- refunds of a payment that has an order: most are so.
--
--   book(group, claim, answer, payment) -> true | false: the careful way | nil, err
--                      group, claim, answer as till.flow.webhook_apply has them, whose that way is
--
-- It is thought about without holding anything, and written where all is still as it was read
-- (till.flow.booking_batch). Those who come to write while others are being written in this worker
-- go together, in one transaction and with as many statements as one alone. Whatever has changed
-- meanwhile, or fails, is left out and goes the careful way alone: where something fails with all
-- of them they are halved until it stands alone.
local booking_batch = require "till.flow.booking_batch"
local batch = require "till.store.batch"
local combine = require "till.prim.combine"
local err = require "till.util.err"
local fault = require "till.prim.fault"
local log = require "till.prim.log"
local sql = require "till.prim.sql"
local webhook_due = require "till.flow.webhook_due"
local webhooks_store = require "till.store.webhooks"

local webhook_plain = {}

local KEY = "webhooks"
local MOST_ROWS = 8 -- of one subject: with more it goes alone, for a statement has its bounds


local function add_all(seen, events)
  for _, event in ipairs(events) do
    event.actor = "provider:" .. seen.payment.provider
    local done = booking_batch.add(seen, event)
    if not done then return false end
    event.is_booked = done == "booked"
  end
  return true
end


-- -> seen, events | false: not plain | nil, err
local function prepare(answer, p)
  local seen, e = booking_batch.read(p)
  if not seen then return nil, e end
  if not seen.now or webhook_due.another_capture(answer, p, seen.now) then return false end
  local events, e2 = webhook_due.due(answer, p, seen.now, seen.list)
  if not events then return nil, e2 end
  if not add_all(seen, events) then return false end
  return seen, events
end


-- ---- together ------------------------------------------------------------------------------

-- One claim, and no payment twice: the second has to see what the first has done.
local function can_be_one(items)
  local seen = {}
  for i, item in ipairs(items) do
    if seen[item.seen.payment.id] or item.claim ~= items[1].claim then return false, i end
    seen[item.seen.payment.id] = true
  end
  return true
end


-- -> items that are written | nil, err
local function write(tx, items)
  local list, good, batches = {}, {}, {}
  for i, item in ipairs(items) do list[i] = item.seen end
  local same, e = booking_batch.lock(tx, list)
  if not same then return nil, e end
  for _, item in ipairs(items) do
    if same[item.seen] then good[#good + 1], batches[#good + 1] = item, item.seen.batch end
  end
  if not good[1] then return good end
  local ok, e2 = batch.run(tx, batches)
  if not ok then return nil, e2 end
  local ours, e3 = webhooks_store.settle_all(tx, items[1].claim, good)
  if ours == nil then return nil, e3 end
  if not ours then return nil, err.new("conflict", "another worker took an event over") end
  fault.crash "webhook.before_commit"
  return good
end


-- One that throws is alone in that, as one that fails is.
local function written(items)
  local fine, good, e = pcall(sql.transaction, function(tx) return write(tx, items) end)
  if fine then return good, e end
  return nil, err.new("internal", tostring(good))
end


-- -> { is_written } for each | false: in halves | nil, err
local function run(items)
  local fits, at = can_be_one(items)
  if not fits then return false, at end
  local good, e = written(items)
  if not good then
    if e.unknown_outcome then return nil, e end
    if items[2] then return false end
    log.warn("webhook.plain", { error = tostring(e) })
    return { { is_written = false } }
  end
  fault.crash "webhook.after_commit"
  local answers, is_written = {}, {}
  for _, item in ipairs(good) do is_written[item] = true end
  for i, item in ipairs(items) do answers[i] = { is_written = is_written[item] or false } end
  return answers
end


local together = combine.kind { name = "webhooks", run = run }


local function log_booked(group, p, events)
  for _, event in ipairs(events) do
    if event.is_booked then
      log.info("webhook.booked", { provider = group.provider, payment_id = p.id,
        kind = event.kind })
    end
  end
end


function webhook_plain.book(group, claim, answer, p)
  if answer.failed and answer.failed[1] or #group.ids > MOST_ROWS then return false end
  local seen, events = prepare(answer, p)
  if not seen then return seen, events end
  local done, e = together:go({ KEY }, { seen = seen, claim = claim, ids = group.ids,
    payment_id = p.id })
  -- a lost answer to COMMIT may have been a yes: asked again it finds what was booked
  if not done then return nil, e end
  if not done.is_written then return false end
  log_booked(group, p, events)
  return true
end


return webhook_plain
