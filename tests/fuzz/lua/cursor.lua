-- Cursors: nothing but what we sealed is read, and what we sealed is read as it was. The first
-- line of the input is also sealed rightly, so that what stands behind the seal meets it too.
local crypto = require "till.prim.crypto"
local cursor = require "till.util.cursor"

local main = {}

local SECRET = "0123456789abcdef0123456789abcdef"
local ROUTE = "GET /store/v1/products"

cursor.secret(SECRET)


local function seal(body)
  local mac = crypto.hmac_sha256(SECRET, "cursor\0" .. ROUTE .. "\0" .. body):sub(1, 16)
  return crypto.base64url(body) .. "." .. crypto.base64url(mac)
end


local function check_made(raw)
  local made = cursor.make(ROUTE, { raw:gsub("[\128-\255%z]", ""), #raw })
  local keys = assert(cursor.read(ROUTE, made))
  assert(keys[2] == #raw, "other keys")
  assert(not cursor.read("GET /store/v1/orders", made), "read for another list")
  local at = #raw % #made + 1
  local changed = made:sub(1, at - 1) .. (made:sub(at, at) == "A" and "B" or "A") .. made:sub(at + 1)
  local other = cursor.read(ROUTE, changed)
  -- the last character of base64 has bits that mean nothing
  assert(not other or other[1] == keys[1] and other[2] == keys[2], "read though it was changed")
end


function main.http(req)
  local keys, failure = cursor.read(ROUTE, req.body)
  if keys then -- the fuzzer finds those in memory that we made
    local body = crypto.base64url_decode(req.body:match("^[^.]*"))
    assert(crypto.base64url_decode(req.body:match("[^.]*$"))
      == crypto.base64url_decode(seal(body):match("[^.]*$")), "a forged cursor was read")
  else
    assert(failure.code == "invalid_cursor")
  end
  local sealed = cursor.read(ROUTE, seal(req.body))
  assert(sealed == nil or type(sealed) == "table", "neither keys nor a refusal")
  check_made(req.body)
  return 200, {}, "", "/"
end


return main
