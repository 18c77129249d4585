-- For wrk: sends each webhook of a file once and then ends the program.
--
--   wrk -t1 -c16 -d600 -s webhooks.lua URL -- FILE        a line: signature, tab, body
local ffi = require "ffi"

ffi.cdef [[
typedef struct { long sec, nsec; } bench_time;
int clock_gettime(int id, bench_time *at);
]]

local events, at, answered, failed, asked, begun, begun_ms, begun_cpu = {}, 0, 0, 0, 0, nil, nil, nil
local REALTIME, MONOTONIC = 0, 1


local function now(clock)
  local time = ffi.new("bench_time")
  ffi.C.clock_gettime(clock or MONOTONIC, time)
  return tonumber(time.sec) + tonumber(time.nsec) / 1e9
end


function init(args)
  for line in io.lines(args[1]) do
    local signature, body = line:match "^([^\t]+)\t(.+)$"
    events[#events + 1] = { signature = signature, body = body }
  end
  wrk.headers["content-type"] = "application/json"
end


-- wrk asks once by itself, before it connects, and throws that away. Connections without an event
-- left are kept busy with what costs next to nothing, for there is no way to say "no request".
function request()
  asked = asked + 1
  if asked > 1 then at = at + 1 end
  if asked > 1 and not begun then
    begun, begun_ms, begun_cpu = now(), 1000 * now(REALTIME), os.clock()
  end
  local event = events[math.max(at, 1)]
  if not event then return wrk.format("GET", "/none") end
  wrk.headers["stripe-signature"] = event.signature
  return wrk.format("POST", "/hooks/v1/payment-stripe", nil, event.body)
end


function response(status, _, body)
  if status == 404 then return end
  answered = answered + 1
  if status ~= 200 then
    failed = failed + 1
    io.stderr:write(status, " ", body:sub(1, 300), "\n")
  end
  if answered < #events then return end
  print(("{\"count\":%d,\"failed\":%d,\"seconds\":%.4f,\"begun_ms\":%.0f,\"sender_us\":%.0f}"):format(
    answered, failed, now() - begun, begun_ms, 1e6 * (os.clock() - begun_cpu)))
  os.exit(0)
end
