local t = require "till.test"
local time = require "till.prim.time"


t.describe("till.prim.time", function()
  t.it("spells and reads a moment", function()
    t.equal(time.rfc3339(1763632800123), "2025-11-20T10:00:00.123Z")
    t.equal(time.sql(1763632800123), "2025-11-20 10:00:00.123")
    t.equal(time.parse("2025-11-20T10:00:00.123Z"), 1763632800123)
    t.equal(time.parse("2025-11-20T12:00:00.123+02:00"), 1763632800123)
    t.equal(time.parse("2025-11-20 10:00:00.123"), 1763632800123)
  end)

  t.it("refuses what is no moment", function()
    for _, text in ipairs({ "", "2025-02-30T10:00:00Z", "2025-11-20", "2025-11-20T25:00:00Z" }) do
      t.equal(time.parse(text), nil, text)
    end
  end)
end)
