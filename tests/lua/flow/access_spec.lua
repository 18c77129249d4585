-- Who may try passwords, and how often. What a password costs is none of it: nothing is computed.
local t = require "till.test"
local access = require "till.flow.access"
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local err = require "till.util.err"
local people = require "till.store.people"

local MAX = conf.get "auth.max_attempts"
local names = 0


local function new_name()
  names = names + 1
  return ("p%d-%s"):format(names, crypto.hex(crypto.random(6)))
end


-- Runs `fn` with a digest that costs nothing.
local function cheaply(fn)
  local scrypt = crypto.scrypt
  crypto.scrypt = function(password) return crypto.sha256(password) end
  local good, e = pcall(fn)
  crypto.scrypt = scrypt
  if not good then error(e, 0) end
end


local function register(peer)
  return access.register({ email = new_name() .. "@example.com", password = "a" }, peer)
end


local function new_customer()
  local email = new_name() .. "@example.com"
  local made, e = access.register({ email = email, password = "right" })
  t.ok(made, e)
  return email
end


-- -> the code of a refusal | "done"
local function try(email, password, peer)
  local session, e = access.login("customer", email, password, peer)
  return session and "done" or e.code
end


local function times(n, what, ...)
  for _ = 1, n do t.equal(try(...), what) end
end


t.describe("who logs in", function()
  t.it("has so many attempts at an account, however its address is spelled", function()
    cheaply(function()
      local email, peer = new_customer(), new_name()
      local spellings = { email, email:upper(), email .. "  ", "  " .. email,
        (email:gsub("example", "éxample")), (email:gsub("com$", "còm")) }
      for _, spelling in ipairs(spellings) do
        t.equal(try(spelling, "right", new_name()), "done", spelling)
      end
      for i = 1, MAX do
        t.equal(try(spellings[i % #spellings + 1], "wrong", peer), "unauthorized")
      end
      for _, spelling in ipairs(spellings) do
        t.equal(try(spelling, "right", peer), "quota_exceeded", spelling)
      end
    end)
  end)

  t.it("is not kept out by his own logins, nor by what somebody tries elsewhere", function()
    cheaply(function()
      local email, peer, stranger = new_customer(), new_name(), new_name()
      times(5 * MAX + 1, "done", email, "right", peer)
      times(MAX, "unauthorized", email, "wrong", stranger)
      times(6 * MAX, "quota_exceeded", email, "wrong", stranger)
      t.equal(try(email, "right", peer), "done")
    end)
  end)

  t.it("is kept out where many try it from everywhere, until the time is over", function()
    cheaply(function()
      local email = new_customer()
      for _ = 1, 5 do times(MAX, "unauthorized", email, "wrong", new_name()) end
      t.equal(try(email, "right", new_name()), "quota_exceeded")
    end)
  end)

  t.it("has so many attempts from one address, whomever he tries", function()
    cheaply(function()
      local peer, email = new_name(), new_customer()
      for _ = 1, 5 * MAX do t.equal(try(new_name(), "wrong", peer), "unauthorized") end
      local session, e, q = access.login("customer", email, "right", peer)
      t.same({ session, e.code, q.left }, { nil, "quota_exceeded", 0 })
      t.ok(q.reset > 0 and e.retry_after_ms == q.reset * 1000)
      t.equal(try(email, "right", new_name()), "done")
    end)
  end)

  t.it("is told how many are left", function()
    cheaply(function()
      local email, peer = new_customer(), new_name()
      local _, _, q = access.login("customer", email, "wrong", peer)
      t.same({ q.max, q.left, q.exceeded }, { MAX, MAX - 1, false })
    end)
  end)

  t.it("is not counted where there was no time to look", function()
    cheaply(function()
      local email, peer, scrypt = new_customer(), new_name(), crypto.scrypt
      crypto.scrypt = function() return nil, err.new("overloaded") end
      times(MAX + 1, "overloaded", email, "right", peer)
      crypto.scrypt = scrypt
      t.equal(try(email, "right", peer), "done")
    end)
  end)
end)


t.describe("who registers", function()
  t.it("may do so often from one address, and no oftener; a shop's own server may", function()
    cheaply(function()
      local peer = new_name()
      for left = 5 * MAX - 1, 0, -1 do
        local made, _, q = register(peer)
        t.ok(made)
        t.same({ q.left, q.max }, { left, 5 * MAX })
      end
      local made, e, q = register(peer)
      t.same({ made, e.code, q.exceeded }, { nil, "quota_exceeded", true })
      t.ok(e.retry_after_ms > 0)
      t.ok(register(new_name()), "from another address")
      t.ok(register(nil))
    end)
  end)

  t.it("is there afterwards", function()
    cheaply(function()
      local made = register(new_name())
      t.equal(people.customers.get(made.id).email, made.email)
    end)
  end)
end)
