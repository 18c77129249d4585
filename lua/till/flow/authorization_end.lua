-- till/flow/authorization_end - until when a provider holds what it has just authorized.
--
--   of(payment, answer) -> RFC 3339 | nil      nil: the answer is no authorization, or the provider
--                          lets go of nothing by itself (capability `authorization_days`)
--
-- What the provider says of this very payment (`expires_at`) is truer than a number of days.
local capabilities = require "till.flow.capabilities"
local time = require "till.prim.time"

local authorization_end = {}

local DAY_MS = 86400000


function authorization_end.of(p, answer)
  local days = capabilities.of(p.provider).authorization_days
  if not days or answer.outcome ~= "authorized" then return nil end
  local told = type(answer.expires_at) == "string" and time.parse(answer.expires_at)
  return time.rfc3339(told or time.now_ms() + days * DAY_MS)
end


return authorization_end
