-- Webhooks of Stripe: whatever the body is, signed or not, it is refused with a reason or it is an
-- event that the inbox can hold. What Stripe's list tells is read likewise.
local api = require "plugins.payment-stripe.api"
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"
local time = require "till.prim.time"
local webhook = require "plugins.payment-stripe.webhook"

local main = {}

local SECRET = "whsec_of_the_fuzzer"
local CONFIG = { secret_key = "sk_test_x", webhook_secret = SECRET, account = "acct_1" }
local REASONS = { no_event = true, foreign = true }


local function check_text(text, most)
  assert(type(text) == "string" and #text >= 1 and #text <= most, "no text of the inbox")
  assert(not text:find "[^%w_.:-]", "letters that no name has")
end


local function check_event(event)
  check_text(event.id, 191)
  check_text(event.type, 128)
  check_text(event.subject, 191)
  assert(event.at_ms % 1000 == 0 and event.at_ms >= 0 and event.at_ms <= 2 ^ 32 * 1000, "no time")
  assert(type(event.is_ignored) == "boolean")
  assert(event.is_ignored == false or event.subject == event.id, "ignored, and about something")
end


local function receive(signature, body)
  return webhook.receive(CONFIG, { headers = { ["stripe-signature"] = signature }, body = body })
end


local function check_signed(body)
  local at = ("%d"):format(math.floor(time.now_ms() / 1000))
  local answer = receive("t=" .. at .. ",v1=" .. crypto.hex(crypto.hmac_sha256(SECRET,
    at .. "." .. body)), body)
  if answer.status == 400 then
    assert(REASONS[answer.reason], "refused for another reason")
    assert(not answer.event, "refused, and taken")
    return
  end
  assert(answer.status == 200 and answer.event.body == body, "other bytes than were signed")
  check_event(answer.event)
end


local function check_unsigned(raw)
  local header, body = raw:match "^([^\n]*)\n?(.*)$"
  for _, given in ipairs { { header, body }, { nil, raw }, { "t=1700000000,v1=" .. header, body } } do
    local answer = receive(given[1], given[2])
    assert(answer.status == 400 and not answer.event, "believed without the secret")
  end
end


local function check_poll(raw)
  local value = json.decode(raw)
  if value == nil then return end
  api.request = function() return { ok = { data = { value, value }, has_more = true } } end
  local answer = assert(webhook.poll(CONFIG, { since_ms = 0 }))
  assert(#answer.events == 0 or #answer.events == 2, "one of two that are the same")
  for _, event in ipairs(answer.events) do
    check_event(event)
    assert(json.decode(event.body), "its body cannot be read again")
  end
end


function main.http(req)
  check_signed(req.body)
  check_unsigned(req.body)
  check_poll(req.body)
  return 200, {}, "", "/"
end


return main
