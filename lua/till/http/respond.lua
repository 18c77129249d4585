-- till/http/respond - responses as values: { status=, headers=, body= }.
--
--   respond.json(status, body [, { etag=, headers=, keep_ms= }])   body is encoded here and now;
--                      keep_ms: the core may give the same answer for so long (till.prim.pages)
--   respond.text(status, type, text [, headers])
--   respond.stream(client, states)     goes on as a stream (till.flow.live), counted for client
--   respond.is(v)
--   respond.etag(version) -> "\"7\""    strong; a text that is quoted already is left alone
--   respond.around(response, mark) -> what of the body comes before and after the mark, which
--                                     stands in it exactly once
--   respond.fresh(response, req) -> the response, or 304 where If-None-Match names its ETag
--   respond.tags(header) -> { { text =, weak = } }, any | nil when it is not well formed
local json = require "till.prim.json"

local respond = {}

local RESPONSE = {}
local NONE = {}


local function make(status, headers, body, keep_ms)
  return setmetatable({ status = status, headers = headers, body = body, keep_ms = keep_ms },
    RESPONSE)
end


function respond.is(value)
  return getmetatable(value) == RESPONSE
end


function respond.etag(version)
  if type(version) == "number" then return ('"%d"'):format(version) end
  local text = tostring(version)
  if text:find('^"[^"]*"$') then return text end
  return '"' .. text .. '"'
end


function respond.json(status, body, opts)
  opts = opts or NONE
  local etag
  if opts.etag ~= nil then etag = respond.etag(opts.etag) end
  local headers = { ["content-type"] = "application/json", etag = etag }
  if opts.headers then
    for name, value in pairs(opts.headers) do
      name = name:lower()
      if name ~= "etag" or not etag then headers[name] = value end
    end
  end
  if status == 204 then
    headers["content-type"] = nil
    return make(status, headers, "")
  end
  return make(status, headers, json.encode(body), opts.keep_ms)
end


function respond.text(status, content_type, text, headers)
  local out = { ["content-type"] = content_type }
  for name, value in pairs(headers or {}) do out[name:lower()] = value end
  return make(status, out, text)
end


function respond.stream(client, states)
  local list = { client }
  for _, state in ipairs(states) do
    local n = #list
    list[n + 1], list[n + 2] = state.topic, state.owner
    list[n + 3], list[n + 4] = state.tag, state.json
  end
  local response = make(200, { ["content-type"] = "text/event-stream",
    ["cache-control"] = "no-store" }, "")
  response.live = list
  return response
end


function respond.raw(status, headers, body)
  return make(status, headers, body)
end


function respond.around(response, mark)
  local body = response.body
  local first, last = body:find(mark, 1, true)
  if not first or body:find(mark, last + 1, true) then
    error("the mark does not stand in the body once", 2)
  end
  return body:sub(1, first - 1), body:sub(last + 1)
end


--- RFC 9110 8.8.3: a list of entity tags; commas may stand inside the quotes.
function respond.tags(header)
  local out, at = {}, 1
  if header:find("^%s*%*%s*$") then return out, true end
  while at <= #header do
    local weak, tag, after = header:match('^%s*(W?/?)"([\33\35-\126\128-\255]*)"%s*()', at)
    if not tag or weak ~= "" and weak ~= "W/" then return nil end
    out[#out + 1] = { text = tag, weak = weak ~= "" }
    if after > #header then break end
    if header:sub(after, after) ~= "," then return nil end
    at = after + 1
    if at > #header then return nil end
  end
  if #out == 0 then return nil end
  return out, false
end


local function names(header, etag)
  local tags, any = respond.tags(header)
  if not tags then return false end
  if any then return true end
  for _, tag in ipairs(tags) do
    if '"' .. tag.text .. '"' == etag then return true end
  end
  return false
end


function respond.fresh(response, req)
  local etag = response.headers.etag
  local header = req.headers["if-none-match"]
  local is_read = req.method == "GET" or req.method == "HEAD"
  if not is_read or not etag or not header or response.status ~= 200 then return response end
  if not names(header, etag) then return response end
  return make(304, { etag = etag, ["cache-control"] = response.headers["cache-control"],
    vary = response.headers.vary }, "")
end


return respond
