-- till/prim/http - outbound HTTP; redirects are not followed.
--
--   request{ method="GET", url=, headers={}, body=, timeout_ms=, max_body=, ca_file= }
--     waits -> { status=, headers= (lower case, repeated ones joined), body=, version= 10|11|20 }
--            | nil, err. Every status is an answer. err.sent: the request may have arrived, so the
--              outcome is not known; whoever moves money reads it. `repeated` in an answer: it was
--              sent once before, over a kept connection that broke (with an Idempotency-Key, or of
--              a method that may be): what is turned away now may have been done then.
--   name_host(host)   its requests are counted under its name; those of all others under "other"
local c = require "till.c.http"
local metrics = require "till.prim.metrics"
local time = require "till.prim.time"

local http = {}

local HOSTS_MAX = 64 -- each is some series, kept for ever
local hosts, host_count = {}, 0


local function host_labels(host)
  return { duration = { host = host }, of_status = {}, host = host }
end


local OTHER = host_labels("other")


function http.name_host(host)
  host = host:lower()
  if hosts[host] or host_count == HOSTS_MAX then return end
  host_count = host_count + 1
  hosts[host] = host_labels(host)
end


local function count(url, status, seconds)
  local host = tostring(url):match("^%a+://([^/:?#]+)")
  local labels = host and hosts[host:lower()] or OTHER
  labels.of_status[status] = labels.of_status[status] or { host = labels.host, status = status }
  metrics.add("till_outbound_requests_total", labels.of_status[status], 1)
  metrics.observe("till_outbound_request_duration_seconds", labels.duration, seconds)
end


function http.request(options)
  local started = time.mono_us()
  local response, e = c.request(options)
  local status = response and math.floor(response.status / 100) .. "xx" or e.code
  count(options.url, status, (time.mono_us() - started) / 1e6)
  return response, e
end


return http
