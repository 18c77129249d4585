-- What was sealed by an older key, and is sealed anew.
local t = require "till.test"
local live = require "tests.support.live"

local A = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
local B = "b:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
local NAMES = { "seal", "open", "reseal", "is_current", "index", "indexes" }


-- fn(raw, use, add): use(ring) is vault.keys from then on, add(token) keeps a method.
local function with_vault(fn)
  return function()
    live.with(function(raw)
      local vault, was = raw.require "till.prim.vault", {}
      for _, name in ipairs(NAMES) do was[name] = vault[name] end
      local function use(ring)
        local other = assert(vault.of(ring))
        for _, name in ipairs(NAMES) do vault[name] = other[name] end
      end
      local id = raw.require "till.util.id"
      local customer_id = id.new "cus"
      raw.sql.exec("INSERT INTO customers (id, email) VALUES (?, 'reseal@example.org')",
        raw.require("till.store.db").bin("cus", customer_id))
      local store = raw.require "till.store.saved_methods"
      local function add(token)
        local method_id = id.new "pmt"
        local place = { table = "saved_payment_methods", row = method_id, column = "sealed" }
        assert(store.add { id = method_id, customer_id = customer_id, provider = "stripe",
          token_index = vault.index("saved_payment_methods.token", "stripe " .. token),
          sealed = vault.seal(place, '{"method":"' .. token .. '","customer":"cus_x"}') })
        return function() return vault.open(place, store.after(nil, 10)[1].sealed) end
      end
      local good, why = pcall(fn, raw, use, add)
      raw.sql.exec "DELETE FROM saved_payment_methods"
      for name, value in pairs(was) do vault[name] = value end
      if not good then error(why, 0) end
    end)
  end
end


t.describe("saved payment methods after a rotation", function()
  t.it("are opened by the new key alone, and found under it", with_vault(function(raw, use, add)
    local run = raw.require("till.flow.reseal").run
    use(A)
    local open = add "pm_1"
    use(B .. "\n" .. A)
    t.same({ run(), run(), run() }, { 1, 0, 0 })
    use(B)
    t.ok(open():find("pm_1", 1, true), "by the new key")
    add "pm_1"
    t.equal(#raw.sql.query "SELECT 1 FROM saved_payment_methods", 1, "the same is kept once")
  end))

  t.it("stand beside one that was kept anew meanwhile", with_vault(function(raw, use, add)
    use(A)
    local open = add "pm_1"
    use(B .. "\n" .. A)
    add "pm_1"
    t.equal(raw.require("till.flow.reseal").run(), 1)
    use(B)
    t.ok(open():find("pm_1", 1, true))
    t.equal(#raw.sql.query "SELECT 1 FROM saved_payment_methods", 2)
  end))

  t.it("whose key is gone are passed over, and told of each time", with_vault(
    function(raw, use, add)
      local run = raw.require("till.flow.reseal").run
      use(A)
      add "pm_1"
      use(B)
      add "pm_2"
      t.equal(run(), 0)
      use(B .. "\n" .. A)
      t.equal(run(), 1)
    end))
end)
