-- till/util/cursor - where a page ends, as an opaque text that only we can make.
--
--   cursor.make(route, keys)        -> text; keys = the sort values of the last row, the id last
--   cursor.read(route, text)        -> keys | nil, err(invalid_cursor)
--   cursor.secret(key)              what they are sealed with; till.http sets it
--
-- base64url(JSON of the keys) "." base64url(first 16 bytes of HMAC-SHA256): a client can neither
-- forge one nor use one of another list. Values are strings and numbers.
local err = require "till.util.err"
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"

local cursor = {}

local MAC_LEN = 16
local secret


function cursor.secret(key)
  secret = key
end


local function mac(route, body)
  return crypto.hmac_sha256(secret, "cursor\0" .. route .. "\0" .. body):sub(1, MAC_LEN)
end


function cursor.make(route, keys)
  local body = json.encode(json.array(keys))
  return crypto.base64url(body) .. "." .. crypto.base64url(mac(route, body))
end


local function refused()
  return nil, err.new("invalid_cursor",
    "Use next_cursor or prev_cursor of a page of this list, as it was given.")
end


function cursor.read(route, text)
  local coded, seal = text:match("^([%w_-]+)%.([%w_-]+)$")
  if not coded then return refused() end
  local body, given = crypto.base64url_decode(coded), crypto.base64url_decode(seal)
  if not body or not given or not crypto.equal(given, mac(route, body)) then return refused() end
  local keys = json.decode(body)
  if type(keys) ~= "table" then return refused() end
  return keys
end


return cursor
