-- till/flow/access - passwords and logging in.
--
--   digest(password, who) -> { salt, hash } | nil, err     who: as of crypto.scrypt
--   create_staff{ email, name, password, roles } -> staff | nil, err
--   register({ email, password, … }, peer) -> customer | nil, err, quota    peer nil: not counted
--   login(kind, email, password, peer) -> { token, expires_at, who } | nil, err, quota
--   quota { max, window, left, reset, exceeded }     seconds
--
-- An unknown address costs the same time and says the same as a wrong password: the digest of a
-- password that nobody has is computed for it. Attempts are counted in Redis: of an account from
-- one peer, so that nobody keeps another out; of an account from everywhere, and of a peer, five
-- times as many. A good one gives back what it took. Registrations are counted by the peer. Without
-- Redis nobody is kept out.
--
-- The database finds an account by other spellings than its own (accents, blanks behind): the
-- account is counted, not what was sent. What takes the computer's time is bounded all the same
-- (crypto.scrypt): who comes when too many wait hears so.
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local err = require "till.util.err"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local people = require "till.store.people"
local redis = require "till.prim.redis"
local sessions = require "till.store.sessions"
local text = require "till.util.text"
local time = require "till.prim.time"

local access = {}

local WINDOW_S = 900
local MANY = 5 -- times auth.max_attempts: a household may have many people, a person many devices
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
-- -> { key, n, max, reset }, of `times` as many as one may have
local function count(name, times)
  local out = { key = "login:" .. crypto.hex(crypto.sha256(name)):sub(1, 32), n = 0,
    max = conf.get("auth.max_attempts") * times, reset = WINDOW_S }
  local n, e = redis.call("INCR", out.key)
  if not n then
    log.warn("login.uncounted", { error = tostring(e) })
    return out
  end
  out.n = n
  local left = n > 1 and redis.call("TTL", out.key)
  if left and left > 0 then
    out.reset = left
  else
    redis.call("EXPIRE", out.key, WINDOW_S)
  end
  return out
end


local function give_back(counted)
  for _, one in ipairs(counted) do
    local n = one.n > 0 and redis.call("DECR", one.key)
    if n and n <= 0 then redis.call("DEL", one.key) end -- it was over meanwhile
  end
end


local function is_over(one)
  return one.n > one.max
end


-- What is told of several: as many are left as of the one of which fewest are, in the measure of
-- the narrowest, which is the second where there is one.
local function quota_of(counted)
  local told = counted[2] or counted[1]
  local q = { max = told.max, window = WINDOW_S, left = told.max, reset = 0, exceeded = false }
  for _, one in ipairs(counted) do
    q.left = math.min(q.left, math.max(0, math.floor((one.max - one.n) * q.max / one.max)))
    if is_over(one) then q.reset, q.exceeded = math.max(q.reset, one.reset), true end
  end
  if not q.exceeded then q.reset = told.reset end
  return q
end


local function refused(q, what)
  metrics.add("till_rate_limited_total", LIMITS[what], 1)
  return nil, err.new("quota_exceeded", "too many attempts; wait a while",
    { retry_after_ms = q.reset * 1000 }), q
end


-- Each costs a password's time and leaves a row behind, and anybody may ask.
function access.register(fields, peer)
  local counted = peer and { count("registration|" .. peer, MANY) }
  local q = counted and quota_of(counted)
  if q and q.exceeded then return refused(q, "registration") end
  local f, e = with_digest(fields, "registration")
  if not f then
    if counted then give_back(counted) end -- there was no time for it
    return nil, e, q
  end
  local made, e2 = people.customers.create(f)
  return made, e2, q
end


-- By what was sent where nobody has it: it says 429 as an account does. A peer that is kept out of
-- it counts no more against it, or one alone could keep out everybody.
local function count_account(counted, kind, row, email)
  local who = ("%s|%s"):format(kind, row and row.id or email)
  counted[2] = count(who .. "|" .. counted.peer, 1)
  if not is_over(counted[2]) then counted[3] = count(who, MANY) end
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


local function limited(kind, counted)
  tally(kind, "limited")
  return refused(quota_of(counted), "login")
end


local function begin_session(kind, row)
  local token, expires = sessions.create(kind, row.id, conf.get("auth.session_hours") * 3600000)
  if not token then return nil, expires end
  tally(kind, "done")
  return { token = token, expires_at = time.rfc3339(expires), who = row }
end


function access.login(kind, email, password, peer)
  email, peer = text.trim(email):lower(), peer or "?"
  local counted = { count(("%s|%s"):format(kind, peer), MANY), peer = peer }
  if is_over(counted[1]) then return limited(kind, counted) end
  local row, e = KINDS[kind].by_email(email)
  if row == nil then return nil, e end
  count_account(counted, kind, row, email)
  local q = quota_of(counted)
  if q.exceeded then return limited(kind, counted) end
  local good, e2 = verify(kind, row, password)
  if good == false then
    tally(kind, "refused")
    log.info("login.refused", { kind = kind, email = log.email(email) })
    return nil, err.new("unauthorized", "the e-mail address or the password is wrong"), q
  end
  give_back(counted) -- he knows it, or nobody looked
  if not good then return nil, e2, q end
  local session, e3 = begin_session(kind, row)
  return session, e3, q
end


return access
