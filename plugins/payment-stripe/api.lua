-- One request to Stripe, and what is known afterwards.
--
--   request(config, method, path, params, idem_key) -> one of
--     { ok = object }              it was done, or done before under this key
--     { refused = error, status }  nothing was done: what Stripe says of it
--     { unsent = why }             nothing was done: it did not arrive, or was turned away at once
--     { unknown = why, status, is_conflict, is_replayed }   it may have been done
--                                  is_conflict: this key was used with other parameters
--                                  is_replayed: Stripe remembers this failure under the key
--   fresh(idem_key) -> a key that nobody has used: for what is safe to ask for twice
--
-- `unsent` and `unknown` are for shoppers to read: what staff must mend stands in the log.
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local http = require "till.prim.http"
local json = require "till.prim.json"
local log = require "till.prim.log"
local url = require "till.util.url"

local api = {}

local VERSION = "2023-08-16"
local REFUSED = { [400] = true, [402] = true, [404] = true }
local AT_THE_DOOR = { [401] = true, [403] = true, [429] = true }
local WRONG_KEY = { [401] = true, [403] = true }
local AWAY = "Stripe cannot be reached"


-- { metadata = { cart = "x" }, expand = { "y" } } -> metadata[cart]=x&expand[0]=y
local function flatten(into, params, prefix)
  for key, value in pairs(params) do
    local name = type(key) == "number" and key - 1 or key
    if prefix then name = prefix .. "[" .. name .. "]" end
    if type(value) == "table" then
      flatten(into, value, name)
    else
      into[name] = type(value) == "number" and ("%d"):format(value) or tostring(value)
    end
  end
  return into
end


local function options_of(config, method, path, params, idem_key)
  local key, failure = conf.secret(config.secret_key)
  if not key then return nil, failure end
  local form = url.build(flatten({}, params or {}))
  local options = { method = method, url = config.base_url .. path, timeout_ms = config.timeout_ms,
    headers = { authorization = "Bearer " .. key, ["stripe-version"] = VERSION,
      ["idempotency-key"] = idem_key } }
  if method == "POST" then
    options.headers["content-type"] = "application/x-www-form-urlencoded"
    options.body = form
  elseif form ~= "" then
    options.url = options.url .. "?" .. form
  end
  return options
end


-- Of a refusal Stripe promises that nothing was done; of 409 and of its own faults it does not. Who
-- is turned away at the door may have been let in before, where a connection broke meanwhile.
local function read(response, path)
  local status, body = response.status, json.decode(response.body)
  if type(body) ~= "table" then return { unknown = "an answer that is no JSON" } end
  if status == 200 then return { ok = body } end
  local told = type(body.error) == "table" and body.error or {}
  log.warn("stripe.refused", { path = path, status = status, type = tostring(told.type),
    code = tostring(told.code), request = response.headers["request-id"] })
  if WRONG_KEY[status] then
    log.error("stripe.wrong_key", { path = path, status = status,
      next_step = "mend plugins.payment-stripe.secret_key: no payment gets through" })
  end
  if AT_THE_DOOR[status] and not response.repeated then
    return { unsent = AWAY, status = status }
  end
  local is_conflict = told.type == "idempotency_error"
  if REFUSED[status] and not is_conflict then return { refused = told, status = status } end
  return { unknown = "Stripe answers " .. status, status = status,
    is_conflict = is_conflict and status ~= 409,
    is_replayed = response.headers["idempotent-replayed"] == "true" }
end


function api.request(config, method, path, params, idem_key)
  local options, failure = options_of(config, method, path, params, idem_key)
  if not options then
    log.error("stripe.no_key", { error = failure })
    return { unsent = AWAY }
  end
  local response, e = http.request(options)
  if response then return read(response, path) end
  log.warn("stripe.no_answer", { path = path, error = e, sent = e.sent or false })
  if e.sent then return { unknown = "no answer" } end
  return { unsent = AWAY }
end


function api.fresh(idem_key)
  return idem_key .. "-" .. crypto.hex(crypto.random(8))
end


return api
