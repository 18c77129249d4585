local amqp = require "till.prim.amqp"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local json = require "till.prim.json"
local time = require "till.prim.time"

local handler = {}

local PROBE_MS = 3000

local is_away = false

local REASONS = {
  unroutable = "no queue is bound for its routing key",
  refused = "the broker could not take it; a queue may be full",
}


handler["plugin.check"] = function(config)
  if config.tls and config.ca_file == "" then
    return "config.ca_file: tls needs the authorities to believe, such as "
      .. "/etc/ssl/certs/ca-certificates.crt"
  end
  local rest = config.routing_key:gsub("{type}", ""):gsub("{aggregate}", "")
  if rest:find("[{}]") then
    return "config.routing_key: braces hold `type` or `aggregate`"
  end
end


local function routing_key(config, event)
  local key = config.routing_key:gsub("{(%l+)}", { type = event.type, aggregate = event.aggregate })
  return key:sub(1, 255)
end


local function message_of(config, event)
  return { routing_key = routing_key(config, event), id = event.id, type = event.type,
    aggregate = event.aggregate, traceparent = event.traceparent,
    timestamp = math.floor(time.parse(event.created_at) / 1000),
    body = json.encode { id = event.id, type = event.type, aggregate = event.aggregate,
      created_at = event.created_at, data = event.payload } }
end


local function target_of(config, password)
  return { host = config.host, port = config.port, vhost = config.vhost, user = config.user,
    password = password, exchange = config.exchange, declare = config.declare, tls = config.tls,
    ca_file = config.ca_file }
end


-- -> list of { verdict, the broker's words } | nil, err
local function send(target, messages, timeout_ms)
  target.timeout_ms = timeout_ms
  local verdicts, reasons = amqp.publish(target, messages)
  is_away = verdicts == nil
  if not verdicts then return nil, reasons end
  local out = {}
  for i, verdict in ipairs(verdicts) do out[i] = { verdict, reasons[i] } end
  return out
end


-- A broker that takes connections and then says nothing holds up whoever waits for it, and with him
-- all else that this worker has to do. So one that was away is asked with one message, and shortly.
local function publish(target, messages)
  if not is_away then return send(target, messages) end
  local first, failure = send(target, { messages[1] }, PROBE_MS)
  if not first or #messages == 1 then return first, failure end
  local outcomes, failure2 = send(target, { unpack(messages, 2) })
  if not outcomes then return nil, failure2 end
  table.insert(outcomes, 1, first[1])
  return outcomes
end


--- The broker's confirmation of each is waited for; the same id comes again where it was lost.
handler["event.publish"] = function(config, events)
  local password, failure = conf.secret(config.password)
  if not password then return nil, err.new("unavailable", "the password: " .. failure.message) end
  local messages, failed = {}, {}
  for i, event in ipairs(events) do messages[i] = message_of(config, event) end
  local outcomes
  outcomes, failure = publish(target_of(config, password), messages)
  if not outcomes then return nil, failure end
  for i, outcome in ipairs(outcomes) do
    local verdict, reason = unpack(outcome)
    if verdict ~= "confirmed" and not (verdict == "unroutable" and config.unroutable == "drop") then
      failed[events[i].id] = ("%s (%s)"):format(reason or REASONS[verdict] or verdict,
        messages[i].routing_key)
    end
  end
  return { failed = failed }
end


return handler
