-- till/http/decode - the checks between a request and its handler: media type, JSON, schemas,
-- If-Match. Each answers a value, or nil and an err.
local err = require "till.util.err"
local json = require "till.prim.json"
local multipart = require "till.util.multipart"
local money = require "till.money"
local format = require "till.util.format"
local respond = require "till.http.respond"
local schema = require "till.util.schema"
local text = require "till.util.text"
local url = require "till.util.url"
require "till.prim.utf8"

local decode = {}

schema.marks(json.null, json.array_mt)

format.define("currency", {
  check = function(s) return money.exponent(s) ~= nil end,
  detail = "must be a currency of ISO 4217 in three capital letters, such as GYD",
  openapi = { pattern = "^[A-Z]{3}$" },
})


local function is_json(media)
  if not media then return false end
  if media == "application/json" then return true end
  local kind = media:lower():match("^%s*([^;%s]+)")
  local charset = media:lower():match("charset%s*=%s*\"?([%w-]+)")
  if charset and charset ~= "utf-8" then return false end
  return kind == "application/json" or kind ~= nil and kind:find("^application/.*%+json$") ~= nil
end


local function is_form(media)
  return media ~= nil and media:lower():find("^%s*multipart/form%-data%s*;") ~= nil
end


function decode.media_type(route, req)
  local media = req.headers["content-type"]
  if not route.body or (req.body or "") == "" then return true end
  if route.form then
    if is_form(media) then return true end
    return nil, err.new("unsupported_media_type",
      "Send the body with Content-Type: multipart/form-data; boundary=...")
  end
  if is_json(media) then return true end
  return nil, err.new("unsupported_media_type",
    "Send the body with Content-Type: application/json, in UTF-8.")
end


-- The values of a form by their names: fields and files alike, a file as its bytes.
local function form(req)
  local parts, why = multipart.parse(req.headers["content-type"] or "", req.body)
  if not parts then return nil, err.new("bad_request", "The form: " .. why .. ".") end
  local out = {}
  for name, part in pairs(parts) do out[name] = part.value end
  return out
end


function decode.body(route, req)
  if not route.body then return req.body end
  local raw = req.body or ""
  if raw == "" then
    if route.body_optional then return {} end
    return nil, err.new(route.form and "bad_request" or "malformed_json",
      ("The body is empty; a %s is expected."):format(route.form and "form" or "JSON object"))
  end
  if route.form then return form(req) end
  local value, failure = json.decode_foreign(raw)
  if failure then
    local at = failure.offset and (" (at byte %d)"):format(failure.offset) or ""
    if err.is(failure, "card_number_refused") then
      return nil, err.new(failure.code, ("What stands before byte %d looks like the number of a"
        .. " payment card. Nothing of the request was kept. Give the card to the payment provider"
        .. " and send the token that it answers with."):format(failure.offset))
    end
    return nil, err.new("malformed_json", tostring(failure.message) .. at)
  end
  return value
end


local function add(into, pointer, list)
  for _, e in ipairs(list) do
    e.pointer = pointer .. e.pointer
    into[#into + 1] = e
  end
end


local function sorted(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end


local GUESSES = 10 -- what may be meant is looked for a few times only


local function unknown(name, schemas, n)
  local near = n < GUESSES and text.nearest(name, sorted(schemas))
  return { { pointer = "", code = "unknown_parameter",
    detail = near and ("is not a parameter here; was %s meant?"):format(near)
      or "is not a parameter here; leave it out" } }
end


--- -> values; faults are added to `errors`.
function decode.query(route, given, errors)
  if not next(given) and not next(route.query) then return given end
  local out = {}
  for _, name in ipairs(sorted(given)) do
    local of, pointer = route.query[name], "/query/" .. name:gsub("~", "~0"):gsub("/", "~1")
    if not of then
      add(errors, pointer, unknown(name, route.query, #errors))
    else
      local value, faults = of:parse(given[name])
      if faults then add(errors, pointer, faults) else out[name] = value end
    end
  end
  for name, of in pairs(route.query) do
    if out[name] == nil and not given[name] then
      if of.opts.required then
        errors[#errors + 1] = { pointer = "/query/" .. name, code = "required",
          detail = "is missing" }
      end
      out[name] = of.default
    end
  end
  return out
end


--- The query string and the body together, so that one answer tells of all that is wrong.
--- -> query, body | nil, err
function decode.input(route, req)
  local given, why = url.query(req.query)
  if not given then return nil, err.new("bad_request", "The query string: " .. why .. ".") end
  local body, failure = decode.body(route, req)
  if failure then return nil, failure end
  local errors = {}
  local query = decode.query(route, given, errors)
  if route.body then
    local checked, faults = route.body:check(body)
    if faults then add(errors, "", faults) else body = checked end
  end
  if #errors > 0 then
    local first = errors[1]
    return nil, err.new("invalid_request", ("%s %s%s"):format(
      first.pointer == "" and "The body" or first.pointer, first.detail,
      #errors > 1 and (" (and %d more)"):format(#errors - 1) or ""), { errors = errors })
  end
  return query, body
end


--- -> { tags, any } | false when there is none | nil, err
function decode.if_match(route, req)
  local header = req.headers["if-match"]
  if not header or not route.if_match then
    if route.if_match == "required" then
      return nil, err.new("precondition_required",
        "Send the ETag that you read as If-Match, so that no change of others is lost.")
    end
    return false
  end
  local tags, any = respond.tags(header)
  if not tags then
    return nil, err.new("bad_request", 'If-Match must be * or entity tags such as "7".')
  end
  return { tags = tags, any = any }
end


return decode
