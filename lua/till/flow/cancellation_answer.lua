-- till/flow/cancellation_answer - what is told of a cancellation, return or refund, once its money
-- went back, or has begun to.
--
--   of(id, transaction, respond) -> what transaction returned | nil, err     as it stands now
--   go_on(c, transaction, respond) -> the same      of one that was decided: its flow is run first,
--       of several payments those of all. Only a last word goes through `transaction`
local cancellations = require "till.store.cancellations"
local err = require "till.util.err"
local flow = require "till.flow.cancellation_flow"
local orders = require "till.store.orders"
local sql = require "till.prim.sql"

local answers = {}


function answers.of(id, transaction, respond)
  return transaction(function(tx)
    local c, e = flow.found(id, tx)
    if c then c, e = cancellations.whole(c, tx) end
    if not c then return nil, e end
    local order, e2 = orders.get(c.order_id, tx)
    if not order then return nil, e2 end
    return respond(order, c, tx)
  end)
end


local function told(id, transaction, respond)
  local answer, e = answers.of(id, transaction, respond)
  if not answer and (err.is(e, "conflict") or err.is(e, "idempotency_in_flight")) then
    return answers.of(id, sql.transaction, respond)
  end
  return answer, e
end


local function silent() return true end


-- Each payment by itself: one that has no answer does not hold up the others.
local function run_parts(c, transaction, respond)
  local done = true
  for _, part in ipairs(c.parts) do
    if part.state == "pending" then
      local state, e = flow.run(part.id, { transaction = sql.transaction, respond = silent })
      if state == nil then return nil, e end
      done = done and state == "done"
    end
  end
  return told(c.id, done and transaction or sql.transaction, respond)
end


local function run(c, transaction, respond)
  local env = { transaction = transaction, respond = respond }
  local state, e2 = flow.run(c.id, env)
  if state == nil then return nil, e2 end
  if env.answer then return env.answer end
  if state ~= "done" then return answers.of(c.id, sql.transaction, respond) end
  -- Where the answer to the last COMMIT was lost, what it recorded is there: it is told, no more.
  return told(c.id, transaction, respond)
end


function answers.go_on(c, transaction, respond)
  return (c.parts and run_parts or run)(c, transaction, respond)
end


return answers
