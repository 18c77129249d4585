local t = require "till.test"
local live = require "tests.support.live"


local function event(shop, event_type, n, due_s)
  assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, available_at) SELECT"
    .. " CONCAT(?, ':', seq), ?, '{}', NOW(3) - INTERVAL ? SECOND FROM seq_1_to_100 WHERE seq <= ?",
    event_type, event_type, due_s or 1, n))
end


local function counted(taking)
  local n, order = {}, {}
  for _, one in ipairs(taking.events) do
    if not n[one.type] then order[#order + 1] = one.type end
    n[one.type] = (n[one.type] or 0) + 1
  end
  return n, order
end


local function with_conf(options, fn)
  return live.test(function(shop)
    local conf = shop.require "till.prim.conf"
    local get = conf.get
    conf.get = function(name)
      if options[name] ~= nil then return options[name] end
      return get(name)
    end
    shop.require("till.flow.kinds").check()
    local good, why = pcall(fn, shop, shop.require "till.flow.job_claim")
    conf.get = get
    if not good then error(why, 0) end
  end)
end


local LIMITED = { ["jobs.limits"] = "product.updated=2", ["jobs.lease_ms"] = 30000 }


t.describe("what a jobs worker takes", function()
  t.it("is nothing where nothing is due", with_conf({}, function(shop, claim)
    assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, available_at) VALUES"
      .. " ('a', 'x', '{}', NOW(3) + INTERVAL 1 HOUR)"))
    t.same(claim.take().events, {})
  end))

  t.it("begins with what is most important, and leaves the others their share",
    with_conf({}, function(shop, claim)
      event(shop, "product.updated", 100, 500)
      event(shop, "payment.capture", 100, 1)
      event(shop, "stock.changed", 100, 300)
      local n, order = counted(claim.take())
      t.same(order, { "payment.capture", "stock.changed", "product.updated" })
      t.same(n, { ["payment.capture"] = 88, ["stock.changed"] = 6, ["product.updated"] = 6 })
    end))

  t.it("is all of the batch where little of the important is due", with_conf({},
    function(shop, claim)
      event(shop, "product.updated", 100, 500)
      event(shop, "payment.capture", 3, 1)
      local n = counted(claim.take())
      t.same(n, { ["payment.capture"] = 3, ["product.updated"] = 97 })
    end))

  t.it("keeps to a limit over all workers, and frees it", with_conf(LIMITED,
    function(shop, claim)
      event(shop, "product.updated", 100)
      event(shop, "order.paid", 3)
      shop.sql.exec("UPDATE outbox SET available_at = NOW(3) - INTERVAL 1 SECOND")
      local batch = shop.require "till.flow.job_batch"
      local conf = shop.require "till.prim.conf"
      local get = conf.get
      conf.get = function(name) return name == "jobs.batch" and 10 or get(name) end
      local first, second, third = claim.take(), claim.take(), claim.take()
      conf.get = get
      t.same(counted(first), { ["order.paid"] = 3, ["product.updated"] = 7 })
      t.same(counted(second), { ["product.updated"] = 10 })
      t.same(counted(third), {})
      t.same({ first.slots ~= nil, second.slots ~= nil, third.slots }, { true, true })
      batch.deliver(second)
      local fourth = claim.take()
      t.ok(counted(fourth)["product.updated"] > 0)
      t.same(counted(claim.take()), {})
    end))

  t.it("has the slot of a worker that died, when its lease is over", with_conf(LIMITED,
    function(shop, claim)
      event(shop, "product.updated", 100)
      local queue = shop.require "till.store.queue"
      t.equal(queue.take_slot("product.updated", 2, 11, 30000), true)
      t.equal(queue.take_slot("product.updated", 2, 12, 30000), true)
      t.same(claim.take().events, {})
      shop.sql.exec("UPDATE job_slots SET held_until = NOW(3) WHERE claim = 12")
      t.equal(#claim.take().events, 100)
      t.equal(queue.extend_slots(12, 1000), false)
    end))

  t.it("is nothing of a type that is paused", with_conf({}, function(shop, claim)
    event(shop, "publish.x", 3)
    event(shop, "order.paid", 1)
    claim.pause("publish.x", 60000)
    t.same(counted(claim.take()), { ["order.paid"] = 1 })
    claim.pause("publish.x", -1)
    t.same(counted(claim.take()), { ["publish.x"] = 3 })
  end))

  t.it("is of 32 types at most, the one that waited longest among them", with_conf({},
    function(_, claim)
      local due = {}
      for i = 1, 40 do
        due[i] = { kind = { type = "t" .. i, priority = 100 - i }, waited_s = i == 38 and 99 or 1 }
      end
      local shares = claim.shares(due, 100)
      t.same({ #shares, shares[1].type, shares[32].type }, { 32, "t1", "t38" })
    end))
end)
