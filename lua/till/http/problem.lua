-- till/http/problem - errors as the world sees them: RFC 9457, application/problem+json.
--
--   problem.response(err, req) -> response
--   problem.TYPE               the page that explains the codes; the code is its fragment
--
-- Only what an error says on purpose leaves the house: code, title, message, errors, and what is
-- `possible` instead. What was thrown is `internal` without a word more; the log has it under the
-- same trace id.
local respond = require "till.http.respond"

local problem = {}

problem.TYPE = "/docs/problems#"

local DETAIL = {
  internal = "Something went wrong on our side. It is noted under this trace_id.",
  conn_lost = "A service that is needed does not answer. Try again in a moment.",
  timeout = "It took too long. Try again in a moment.",
  deadlock = "Two changes met. Try again.",
  cancelled = "The request was given up.",
  unavailable = "Not possible just now. Try again in a moment.",
  overloaded = "Too much is asked at once. Try again in a moment.",
  duplicate = "It is there already.",
  rejected = "It was refused.",
}

-- Of failures of the machinery the message may hold an SQL text or an address: it stays inside,
-- unless whoever made the error set `public`.
local INSIDE = {
  internal = true, conn_lost = true, timeout = true, deadlock = true, cancelled = true,
  duplicate = true, rejected = true, unavailable = true, overloaded = true,
}
local CHALLENGE = 'Bearer realm="moontill"'


local function headers_of(err, status)
  local headers = { ["content-type"] = "application/problem+json", ["cache-control"] = "no-store" }
  if status == 401 then headers["www-authenticate"] = CHALLENGE end
  if err.allow then headers.allow = err.allow end
  -- Spread, so that those who were refused together do not come back together.
  local wait_ms = err.retry_after_ms or status == 503 and math.random(1, 3000)
  if wait_ms then headers["retry-after"] = ("%d"):format(math.max(1, math.ceil(wait_ms / 1000))) end
  return headers
end


local function detail_of(err)
  if INSIDE[err.code] and not err.public then return DETAIL[err.code] end
  return err.message
end


function problem.response(err, req)
  -- 499 is for the log: nobody is there to read it, but a body must not claim success.
  local status = err.http == 499 and 503 or err.http
  local response = respond.json(status, {
    type = problem.TYPE .. err.code,
    title = err.title,
    status = status,
    code = err.code,
    detail = detail_of(err),
    instance = req.path,
    errors = err.errors,
    possible = err.possible,
    provider_says = err.provider_says,
    trace_id = req.trace_id,
  })
  response.headers = headers_of(err, status)
  return response
end


return problem
