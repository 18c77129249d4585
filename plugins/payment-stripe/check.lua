-- Does the secret key work? GET /v1/account, which changes nothing; the key is told to nobody.
--
--   check(config) -> { ok =, problem =, next_step = }
local conf = require "till.prim.conf"
local http = require "till.prim.http"

local KEY = "Set plugins.payment-stripe.secret_key to the secret key (sk_live_… or sk_test_…) "
  .. "of Stripe's dashboard, Developers, API keys; then `moontill reload`."
local TIMEOUT_MS = 5000


local function wrong(problem, next_step)
  return { ok = false, problem = problem, next_step = next_step }
end


return function(config)
  local key = conf.secret(config.secret_key)
  if not key or key == "" then return wrong("there is no secret key", KEY) end
  local response = http.request { url = config.base_url .. "/v1/account",
    timeout_ms = TIMEOUT_MS, headers = { authorization = "Bearer " .. key } }
  if not response then
    return wrong("Stripe cannot be reached", "See that this machine may connect to "
      .. config.base_url .. ".")
  elseif response.status == 200 then
    return { ok = true }
  elseif response.status == 401 then
    return wrong("Stripe does not know the secret key", KEY)
  elseif response.status == 403 then
    return wrong("the key may not read the account", "A restricted key needs the right to read the"
      .. " account, and to write PaymentIntents and refunds.")
  end
  return wrong("Stripe answers " .. response.status, "Try again; see https://status.stripe.com.")
end
