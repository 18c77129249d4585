-- till/prim/idem - one effect for one Idempotency-Key (core/trade/idem.h).
--
--   parse(header)                    -> key | nil
--   fingerprint(method, path, body)  -> 32 bytes
--   claim(scope, key, fingerprint, lease_ms)  waits ->
--     { outcome="run", claim=, resumed= } | { outcome="replay", status=, headers=, body= }
--     | { outcome="mismatch" } | { outcome="busy", retry_after_ms= }
--     | nil, err: whether it was claimed nobody knows, but where err has no `claim`, the number
--       that it would be under
--   finish(tx, scope, key, claim, status, headers, body)  inside the effect's transaction
--     -> true | nil, err(conflict: the claim is no longer ours, roll back)
--   forget(scope, key, claim)        waits -> true | nil, err; nothing was done under it
--
-- `headers` is a table of names and strings in a replay; finish takes that or its JSON.
local c = require "till.c.idem"
local json = require "till.c.json"

local idem = { parse = c.parse, fingerprint = c.fingerprint, forget = c.forget }


function idem.claim(scope, key, fingerprint, lease_ms)
  local answer, err = c.claim(scope, key, fingerprint, lease_ms)
  if not answer then return nil, err end
  if answer.headers then answer.headers = json.decode(answer.headers) or {} end
  return answer
end


function idem.finish(tx, scope, key, claim, status, headers, body)
  if type(headers) ~= "string" then headers = json.encode(headers or {}) end
  return c.finish(tx, scope, key, claim, status, headers, body or "")
end


return idem
