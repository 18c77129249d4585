-- Who may try passwords, and how often. What a password costs is none of it: nothing is computed.
local t = require "till.test"
local access = require "till.flow.access"
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
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
