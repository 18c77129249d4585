-- till/http/request_key - request_of(ctx) -> what makes one request of its repetitions: the same
-- Idempotency-Key of the same caller, whatever his session, asks for the same thing, also where its
-- answer was lost.
local crypto = require "till.prim.crypto"


return function(ctx)
  local sum = crypto.sha256(ctx.idem.scope .. "\n" .. ctx.idem.key)
  local text = crypto.hex(sum)
  return text
end
