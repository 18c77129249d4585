local t = require "till.test"
local prim = require "tests.support.prim"


local function with(options, fn)
  prim.with({}, function(fakes, fresh)
    fakes.conf["jobs.max_attempts"] = 10
    for name, value in pairs(options) do fakes.conf["jobs." .. name] = value end
    fn(fresh("till.flow.kinds"))
  end)
end


t.describe("kinds of events", function()
  t.it("have what the server thinks right", function()
    with({}, function(kinds)
      t.same(kinds.of("something.else"), { type = "something.else", priority = 100, attempts = 10 })
      t.ok(kinds.of("payment.capture").priority > kinds.of("product.updated").priority)
      t.equal(kinds.of("order.placed").priority, kinds.of("payment.capture").priority)
      t.ok(kinds.of("publish.events-x").priority < 100)
    end)
  end)

  t.it("have what the operator says, the longest pattern first", function()
    with({ priorities = "order.*=950 order.placed=10 stock.*=7", limits = "product.updated=2",
      attempts = "payment.*=20" }, function(kinds)
      t.same({ kinds.of("order.placed").priority, kinds.of("order.paid").priority,
        kinds.of("stock.changed").priority }, { 10, 950, 7 })
      t.same({ kinds.of("product.updated").limit, kinds.of("order.placed").limit }, { 2 })
      t.same({ kinds.of("payment.capture").attempts, kinds.of("order.paid").attempts }, { 20, 10 })
    end)
  end)

  t.it("are refused where they are written wrong", function()
    for text, why in pairs { ["a.b"] = "type=number", ["a.b=x"] = "type=number", ["=3"] = "type",
      ["a*b=3"] = "type=number", ["a.b=0"] = "between 1 and 1000", ["a=1001"] = "between 1" } do
      with({ limits = text }, function(kinds)
        t.throws(kinds.check, "jobs.limits: ")
        t.throws(kinds.check, why)
      end)
    end
  end)
end)
