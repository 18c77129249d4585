-- till/flow/access - passwords and logging in.
--
--   digest(password, who) -> { salt, hash } | nil, err     who: as of crypto.scrypt
--   create_staff{ email, name, password, roles } -> staff | nil, err
--   register({ email, password, … }, peer) -> customer | nil, err, quota    peer nil: not counted
--   login(kind, email, password, peer) -> { token, expires_at, who } | nil, err, quota
--   quota { max, window, left, reset, exceeded }     seconds
--
-- An unknown address costs the same time and says the same as a wrong password: the digest of a
-- password that nobody has is computed for it. Attempts are counted by address of the account and
-- of the peer in Redis, registrations by the peer; without Redis nobody is kept out. What takes the
-- computer's time is bounded all the same (crypto.scrypt): who comes when too many wait hears so.
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local err = require "till.util.err"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local people = require "till.store.people"
local redis = require "till.prim.redis"
local sessions = require "till.store.sessions"
local time = require "till.prim.time"

local access = {}

local WINDOW_S = 900
local OF_PEER = 5 -- times auth.max_attempts: a household may have many people
local LIMITS = { login = { limit = "login" }, registration = { limit = "registration" } }
local NOBODY = ("\0"):rep(16)
local KINDS = { staff = people.staff, customer = people.customers }


function access.digest(password, who)
  local salt = crypto.random(16)
  local hash, e = crypto.scrypt(password, salt, who)
  if not hash then return nil, e end
  return { salt = salt, hash = hash }
end


local function with_digest(fields, who)
  local digest, e = access.digest(fields.password, who)
  if not digest then return nil, e end
  local out = {}
  for name, value in pairs(fields) do out[name] = value end
  out.password = digest
  return out
end


function access.create_staff(fields)
  local f, e = with_digest(fields, "staff")
  if not f then return nil, e end
  return people.staff.create(f)
end


-- Counts first: many at once cannot slip through between looking and counting.
local function count(name)
  local key = "login:" .. crypto.hex(crypto.sha256(name)):sub(1, 32)
  local n, e = redis.call("INCR", key)
  if not n then
    log.warn("login.uncounted", { error = tostring(e) })
    return 0, WINDOW_S
  end
  if n == 1 then redis.call("EXPIRE", key, WINDOW_S) end
  local left = redis.call("TTL", key)
  if left and left < 0 then redis.call("EXPIRE", key, WINDOW_S) end
  return n, left and left > 0 and left or WINDOW_S
end


local function refused(q, what)
  metrics.add("till_rate_limited_total", LIMITS[what], 1)
  return nil, err.new("quota_exceeded", "too many attempts; wait a while",
    { retry_after_ms = q.reset * 1000 }), q
end


-- Each costs a password's time and leaves a row behind, and anybody may ask.
local function quota_of_registrations(peer)
  local max = conf.get("auth.max_attempts") * OF_PEER
  local n, left = count("registration|" .. peer)
  return { max = max, window = WINDOW_S, left = math.max(0, max - n), reset = left,
    exceeded = n > max }
end


function access.register(fields, peer)
  local q = peer and quota_of_registrations(peer)
  if q and q.exceeded then return refused(q, "registration") end
  local f, e = with_digest(fields, "registration")
  if not f then return nil, e, q end
  local made, e2 = people.customers.create(f)
  return made, e2, q
end


local function quota(kind, email, peer)
  local max = conf.get("auth.max_attempts")
  local n, left = count(("%s|%s"):format(kind, email))
  local n2, left2 = count(("%s|%s"):format(kind, peer or "?"))
  local used = math.max(n, math.ceil(n2 / OF_PEER))
  return { max = max, window = WINDOW_S, left = math.max(0, max - used),
    reset = n2 > OF_PEER * max and left2 or left, exceeded = used > max }
end


local function verify(kind, row, password)
  local known = row and row.password_hash
  local hash, e = crypto.scrypt(password, known and row.password_salt or NOBODY, kind)
  if not hash then return nil, e end
  return known and crypto.equal(hash, row.password_hash) or false
end


local function tally(kind, result)
  metrics.add("till_logins_total", { kind = kind, result = result }, 1)
end


function access.login(kind, email, password, peer)
  email = email:lower()
  local q = quota(kind, email, peer)
  if q.exceeded then
    tally(kind, "limited")
    return refused(q, "login")
  end
  local row, e = KINDS[kind].by_email(email)
  if row == nil then return nil, e, q end
  local good, e2 = verify(kind, row, password)
  if good == nil then return nil, e2, q end
  if not good then
    tally(kind, "refused")
    log.info("login.refused", { kind = kind, email = log.email(email) })
    return nil, err.new("unauthorized", "the e-mail address or the password is wrong"), q
  end
  local token, expires = sessions.create(kind, row.id, conf.get("auth.session_hours") * 3600000)
  if not token then return nil, expires, q end
  tally(kind, "done")
  return { token = token, expires_at = time.rfc3339(expires), who = row }, nil, q
end


return access
