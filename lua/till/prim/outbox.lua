-- till/prim/outbox - events that are written with their effect (core/trade/outbox.h).
--
--   append(tx, { { aggregate=, type=, payload= (table or JSON), delay_ms= }, ... })
--     waits -> true | nil, err; the call's trace goes with them. An empty list is nothing to do.
--   claim(kinds, max, lease_ms)  waits -> up to `max` (100) events { id, aggregate, type, payload
--                          (JSON), traceparent, attempts, claim, is_taken_over = whoever had it
--                          before never said what became of it } | nil, err. kinds: up to 32 of
--                          { type =, leave = places for those after it }; the first one's first
--   done(id or ids, claim) waits -> true | nil, err(conflict: some were taken over, the others are
--                          done); up to 1000 ids of one claim
--   extend(ids, claim, lease_ms)  waits -> the same as done: leased anew, from now on
--   release(ids, claim [, reason [, is_suspect]])  waits -> the same: due at once, and untried;
--                          is_suspect: is_taken_over still, for whoever claims them next
--   retry(id, claim, max_attempts, reason)  waits -> true | nil, err; later, or never again
local c = require "till.c.outbox"
local json = require "till.c.json"

local outbox = { claim = c.claim, retry = c.retry, extend = c.extend, release = c.release }


function outbox.done(ids, claim)
  local ok, err = c.done(type(ids) == "table" and ids or { ids }, claim)
  return ok, err
end


function outbox.append(tx, events)
  if #events == 0 then return true end
  local list = {}
  for i, event in ipairs(events) do
    local payload = event.payload
    if type(payload) ~= "string" then payload = json.encode(payload or {}) end
    list[i] = {
      aggregate = event.aggregate, type = event.type, payload = payload, delay_ms = event.delay_ms,
    }
  end
  return c.append(tx, list)
end


return outbox
