local t = require "till.test"
local conf = require "till.prim.conf"
local vault = require "till.prim.vault"

local A = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
local B = "b:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
local HERE = { table = "customers", row = "cus_1", column = "phone" }
local THERE = { table = "customers", row = "cus_2", column = "phone" }


local function refused(value, err)
  t.equal(value, nil)
  return err.code
end


t.describe("till.prim.vault", function()
  t.it("opens what it sealed, there alone", function()
    local v = assert(vault.of(A))
    for _, text in ipairs { "", "+592 600 1234", ("\0\255"):rep(5000) } do
      local sealed = assert(v.seal(HERE, text))
      t.equal(v.open(HERE, sealed), text)
      t.ok(#sealed <= #text + 106)
      t.ok(v.seal(HERE, text) ~= sealed, "sealed twice the same way")
      t.equal(refused(v.open(THERE, sealed)), "internal")
      t.equal(refused(v.open(HERE, sealed:sub(1, -2))), "internal")
      t.equal(refused(v.open(HERE, sealed:sub(1, -2) .. string.char((sealed:byte(-1) + 1) % 256))),
        "internal")
    end
    t.equal(refused(v.open(HERE, "")), "internal")
  end)

  t.it("rotates its keys", function()
    local before, during, after = vault.of(A), vault.of(B .. "\n" .. A), vault.of(B)
    local sealed = before.seal(HERE, "x")
    t.same({ before.is_current(sealed), during.is_current(sealed) }, { true, false })
    t.equal(refused(after.open(HERE, sealed)), "unavailable")
    local again = assert(during.reseal(HERE, sealed))
    t.same({ during.is_current(again), after.open(HERE, again) }, { true, "x" })
    t.equal(refused(during.reseal(THERE, sealed)), "internal")
  end)

  t.it("finds by index what either key has written", function()
    local before, during = vault.of(A), vault.of(B .. "," .. A)
    local old, all = before.index("customers.phone", "1"), during.indexes("customers.phone", "1")
    t.same(all, { during.index("customers.phone", "1"), old })
    t.equal(#old, 32)
    t.ok(old ~= before.index("customers.email", "1"))
    t.ok(old ~= before.index("customers.phone", "2"))
  end)

  t.it("says what is wrong with a ring, and nothing of its keys", function()
    local nothing, err = vault.of(A .. " " .. A)
    t.equal(nothing, nil)
    t.equal(tostring(err), "unavailable: vault.keys: entry 2 has an id that another one has")
    t.equal(refused(vault.of("")), "unavailable")
  end)

  t.it("takes no more than a megabyte", function()
    t.throws(function() vault.of(A).seal(HERE, ("x"):rep(2 ^ 20 + 1)) end, "1 MB")
  end)

  t.it("takes nothing else for its keys", function()
    local c = require "till.c.vault"
    t.throws(function() c.seal("x", "t", "r", "c", "text") end, "no vault")
    t.throws(function() c.is_current(newproxy and newproxy(true) or {}, "x") end, "no vault")
  end)

  t.it("is of vault.keys where that is set", function()
    local sealed, err = vault.seal(HERE, "x")
    if sealed then
      t.equal(vault.open(HERE, sealed), "x")
    else
      t.equal(tostring(err), "unavailable: no key is configured to seal with: set vault.keys")
    end
    t.ok(not pcall(conf.get, "vault.keys"), "a secret is an option like others")
  end)
end)
