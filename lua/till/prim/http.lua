-- till/prim/http - outbound HTTP; redirects are not followed.
--
--   request{ method="GET", url=, headers={}, body=, timeout_ms=10000, max_body=, ca_file= }
--     waits -> { status=, headers= (lower case, repeated ones joined), body=, version= 10|11|20 }
--            | nil, err. Every status is an answer. err.sent: the request may have arrived, so the
--              outcome is not known; whoever moves money reads it.
-- Not as a tail call: the binding looks at who asks for it.
local c = require "till.c.http"

return c
