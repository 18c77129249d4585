-- till/flow/payment_way - what was sent to a provider may be on its way still: who asks again later
-- may hear of money.
--
--   STATES                       those in which it may be
--   until_ms(p [, tx]) -> until when | false: not any more | nil, err
--   too_soon(p) -> nil, or the error that "not found" is meanwhile; e.known_at_ms: when it will be
--                                an answer
local conf = require "till.prim.conf"
local payment_events = require "till.store.payment_events"
local result = require "till.flow.payment_result"
local time = require "till.prim.time"

local way = {}

local AHEAD_MS = 3600000 -- the clock of whoever sent it was wrong, and who knows since when

way.STATES = { sending = true, unknown = true }


function way.until_ms(p, tx)
  if not way.STATES[p.state] then return false end
  local sent_ms, e = payment_events.sent_ms(p.id, tx)
  if not sent_ms then return sent_ms, e end
  local now_ms = time.now_ms()
  if sent_ms > now_ms + AHEAD_MS then return false end
  local until_ms = sent_ms + conf.get("payments.not_found_after_ms")
  return until_ms > now_ms and until_ms
end


function way.too_soon(p)
  local until_ms, e = way.until_ms(p)
  if until_ms == false then return nil end
  local why = until_ms and result.no_answer(p) or e
  why.known_at_ms = until_ms
  return why
end


return way
