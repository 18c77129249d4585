-- till/http/auth - who asks, and may he?
--
--   auth.check(route, req) -> { kind, key_id, session_id, customer_id, staff_id, roles } | nil, err
--   auth.forget(token_hash)   its session was ended: nor is it believed in this worker any more
--
--   Authorization: Bearer mtp_...    publishable key: the store API; may stand in a browser
--   Authorization: Bearer mts_...    secret key: the admin API, and the store API from servers
--   Authorization: Bearer mtses_...  session of the staff (admin) or of a customer (store)
--   Cookie: till_session=mtses_...   the same for browsers; what changes something must come from
--                                    our own pages then: Origin is compared
--   Sec-WebSocket-Protocol: moontill.v1, bearer.<token>    for a browser's WebSocket, which cannot
--                                    send Authorization
--
-- Tokens are 256 bits of randomness and are looked up by their SHA-256: the tables hold nothing
-- that can be used, and a lookup by digest tells nothing by its time. What was found is believed
-- for ten seconds in this worker; what was not found is asked for again each time.
local err = require "till.util.err"
local lru = require "till.util.lru"
local cookies = require "till.util.cookie"
local crypto = require "till.prim.crypto"
local pages = require "till.prim.pages"
local time = require "till.prim.time"
local permissions = require "till.http.permissions"

local auth = {}

local BELIEVED_MS = 10000
local MAX_TOKEN = 200
local found = lru.new(10000)
local NO_ROLES = {}
local publishable = lru.new(1000) -- Authorization that holds such a key -> its digest


local function lookup(module, find, hash)
  local now = time.mono_ms()
  local row = found:get(hash, now)
  if row then return row end
  local failure
  row, failure = require(module)[find](hash)
  if failure then return nil, failure:at("auth") end
  if row then found:set(hash, row, now + BELIEVED_MS) end
  return row
end


function auth.forget(token_hash)
  pages.drop()
  found:drop(token_hash)
end


local function refused(message)
  return nil, err.new("unauthorized", message)
end


local function of_key(hash, kind)
  local row, failure = lookup("till.store.keys", "find", hash)
  if failure then return nil, failure end
  if not row or row.revoked or row.kind and row.kind ~= kind then
    return refused("This key is not known or was revoked.")
  end
  return { kind = kind, key_id = row.id, roles = row.roles or NO_ROLES }
end


local function of_session(token)
  local hash = crypto.sha256(token)
  local row, failure = lookup("till.store.sessions", "find", hash)
  if failure then return nil, failure end
  if not row or row.expires_at_ms and row.expires_at_ms <= time.now_ms() then
    return refused("The session is over. Log in again.")
  end
  local who = { kind = row.kind, key_id = row.key_id, session_id = row.id, roles = row.roles or {},
    token_hash = hash }
  who[row.kind == "staff" and "staff_id" or "customer_id"] = row.subject_id
  return who
end


local function of_token(token)
  local prefix = #token <= MAX_TOKEN and token:match("^(mt%l*)_[%w_-]+$")
  if prefix == "mtp" then return of_key(crypto.sha256(token), "publishable") end
  if prefix == "mts" then return of_key(crypto.sha256(token), "secret") end
  if prefix == "mtses" then return of_session(token) end
  return refused("This is not a credential of ours.")
end


-- A publishable key is no secret, and comes with each request of a storefront: it is read once.
local function of_header(header)
  local hash = publishable:get(header, 0)
  if hash then return of_key(hash, "publishable") end
  local token = header:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)%s*$")
  if not token then return refused("Authorization must be Bearer and one token.") end
  local who, failure = of_token(token)
  if who and token:sub(1, 4) == "mtp_" and #header <= 2 * MAX_TOKEN then
    publishable:set(header, crypto.sha256(token), math.huge)
  end
  return who, failure
end


local function cookie_token(req)
  local header = req.headers.cookie
  local value = header and cookies.get(header, "till_session")
  return value and #value <= MAX_TOKEN and value:match("^mtses_[%w_-]+$") or nil
end


local function is_websocket(req)
  local wanted = req.headers.upgrade
  return wanted ~= nil and wanted:lower() == "websocket"
end


-- A browser sends cookies with requests that another site's page caused; it also says which. What
-- it reads over a WebSocket it shows to that page, as it does not for other requests.
local function is_same_origin(req)
  local is_read = req.method == "GET" or req.method == "HEAD"
  if is_read and not is_websocket(req) then return true end
  local origin = req.headers.origin
  local host = origin and origin:match("^https?://([^/]+)$")
  return host ~= nil and host:lower() == (req.authority or ""):lower()
end


local function of_cookie(token, req)
  if not is_same_origin(req) then
    return nil, err.new("forbidden",
      "A change by cookie must come from the shop's own pages: Origin does not say so.")
  end
  return of_session(token)
end


local function credential(req)
  local offer = is_websocket(req) and req.headers["sec-websocket-protocol"]
  local token = offer and offer:match("%f[%w]bearer%.(mt%l*_[%w_-]+)")
  return req.headers.authorization or token and "Bearer " .. token
end


-- The storefront sends its publishable key and, once somebody is logged in, the cookie too: then
-- the shopper counts, and a session that is over makes him a guest again.
local function identify(req)
  local header = credential(req)
  local cookie = cookie_token(req)
  if not header then
    if cookie then return of_cookie(cookie, req) end
    return refused("Send Authorization: Bearer and a key or a session.")
  end
  local who, failure = of_header(header)
  if not who or who.kind ~= "publishable" or not cookie then return who, failure end
  local shopper, why = of_cookie(cookie, req)
  if why and why.code ~= "unauthorized" then return nil, why end
  if not shopper or shopper.kind ~= "customer" then return who end
  shopper.key_id = shopper.key_id or who.key_id
  return shopper
end


local ALLOWED = {
  store = { publishable = true, secret = true, customer = true },
  customer = { customer = true },
  admin = { secret = true, staff = true },
}

local WANTED = {
  store = "The store API takes a publishable key or a customer's session.",
  customer = "This takes a customer's session: log in first.",
  admin = "The admin API takes a secret key or a session of the staff.",
}


function auth.check(route, req)
  local allowed = ALLOWED[route.auth]
  if not allowed then return { kind = "none", roles = {} } end
  local who, failure = identify(req)
  if not who then return nil, failure end
  if not allowed[who.kind] then return nil, err.new("forbidden", WANTED[route.auth]) end
  if route.permission and not permissions.allows(who.roles, route.permission) then
    return nil, err.new("forbidden", ("It takes the permission %s."):format(route.permission))
  end
  return who
end


return auth
