-- Units that are let go of.
local t = require "till.test"
local with_shop = require "tests.support.stock"


t.describe("reservations that are released", function()
  t.it("make no temporary table on a disk, which may be full", with_shop(function(shop, raw)
    local tea, rum = shop.product("TEA", 1000, 5), shop.product("RUM", 1000, 5)
    local cart = shop.cart { { tea, 2 }, { rum, 1 } }
    shop.pay(cart)
    t.same({ shop.at("TEA", "main"), shop.at("RUM", "main") }, { { 5, 2 }, { 5, 1 } })
    local reservations = raw.require "till.store.reservations"
    local before, after
    assert(raw.sql.transaction(function(tx)
      local function tables()
        local row = assert(tx:one("SELECT VARIABLE_VALUE AS n"
          .. " FROM information_schema.SESSION_STATUS"
          .. " WHERE VARIABLE_NAME = 'CREATED_TMP_DISK_TABLES'"))
        return tonumber(row.n)
      end
      before = tables()
      local ok, e = reservations.release(tx, cart)
      after = tables()
      return ok, e
    end))
    t.equal(after, before)
    t.same({ shop.at("TEA", "main"), shop.at("RUM", "main") }, { { 5, 0 }, { 5, 0 } })
  end))
end)
