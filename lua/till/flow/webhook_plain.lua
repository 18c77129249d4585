-- till/flow/webhook_plain - a subject of the inbox of which no more is to be told than captures and
-- refunds of a payment that has an order: most are so.
--
--   book(group, claim, answer) -> true | false: the careful way | nil, err
--                      group, claim, answer as till.flow.webhook_apply has them, whose that way is
--
-- Those who come while others are being booked in this worker go together, in one transaction and
-- with as many statements as one alone: they are read (till.flow.booking_batch), thought about
-- while their rows are held, and written. What turns out not to be plain, or fails, is left out and
-- goes the careful way alone: where something fails with all of them they are halved until it
-- stands alone.
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
local MOST_TOGETHER = 32


local function add_all(seen, events)
  for _, event in ipairs(events) do
    event.actor = "provider:" .. seen.payment.provider
    local done = booking_batch.add(seen, event)
    if not done then return false end
    event.is_booked = done == "booked"
  end
  return true
end


-- -> is it plain?, its events
local function think(item, seen)
  local answer = item.answer
  if not seen or not seen.now or webhook_due.differs(answer, seen.payment, item.group)
    or webhook_due.another_capture(answer, seen.payment, seen.now) then
    return false
  end
  local events = webhook_due.due(answer, seen.payment, seen.now, seen.list)
  return events and add_all(seen, events), events
end


-- ---- together ------------------------------------------------------------------------------

-- Claimed by one run, and no payment twice: the second has to see what the first has done.
local function can_be_one(items)
  local seen = {}
  for i, item in ipairs(items) do
    if seen[item.payment_id] or item.claim.number ~= items[1].claim.number then return false, i end
    seen[item.payment_id] = true
  end
  return true
end


-- -> items that are plain
local function thought_about(items, found)
  local good, batches = {}, {}
  for _, item in ipairs(items) do
    local seen = found[item.payment_id]
    local is_plain, events = think(item, seen)
    if is_plain then
      item.events = events
      good[#good + 1], batches[#good + 1] = item, seen.batch
    end
  end
  return good, batches
end


-- -> items that are written | nil, err
local function write(tx, items)
  local ids = {}
  for i, item in ipairs(items) do ids[i] = item.payment_id end
  local found, e = booking_batch.read(tx, ids)
  if not found then return nil, e end
  local good, batches = thought_about(items, found)
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


local together = combine.kind { name = "webhooks", most = MOST_TOGETHER, run = run }


local function log_booked(item)
  for _, event in ipairs(item.events) do
    if event.is_booked then
      log.info("webhook.booked", { provider = item.group.provider, payment_id = item.payment_id,
        kind = event.kind })
    end
  end
end


-- What of it can be seen without looking into the books.
local function may_be_plain(group, answer)
  if answer.park or #group.ids > MOST_ROWS then return false end
  for _, event in ipairs(answer.events or {}) do
    if not booking_batch.PLAIN[event.kind] then return false end
  end
  return type(answer.payment_id) == "string"
end


function webhook_plain.book(group, claim, answer)
  if not may_be_plain(group, answer) then return false end
  local item = { group = group, claim = claim, ids = group.ids, answer = answer,
    payment_id = answer.payment_id }
  local done, e = together:go({ KEY }, item)
  -- a lost answer to COMMIT may have been a yes: asked again it finds what was booked
  if not done then return nil, e end
  if not done.is_written then return false end
  log_booked(item)
  return true
end


return webhook_plain
