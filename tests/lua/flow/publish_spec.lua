local t = require "till.test"
local live = require "tests.support.live"


-- A shop whose plugin `mq` publishes order.* events; `told` is what it was given.
local function with_plugin(fn)
  return live.test(function(shop)
    local dispatch = shop.require "till.plugin.dispatch"
    local mq = { told = {} }
    local plugins = dispatch.plugins()
    dispatch.setup { { name = "mq", hooks = { "event.publish" },
      config = { events = { "order.*", "stock.low" } }, waits = false,
      handlers = { ["event.publish"] = function(_, events)
        if mq.away then return nil, shop.require("till.util.err").new(mq.away, "not there") end
        for _, event in ipairs(events) do mq.told[#mq.told + 1] = event end
        return mq.answer and mq.answer(events)
      end } } }
    local good, why = pcall(fn, shop, mq)
    dispatch.setup(plugins)
    if not good then error(why, 0) end
  end)
end


local function event(shop, aggregate, event_type)
  return assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload) VALUES (?, ?, ?)",
    aggregate, event_type, '{"n":[]}')).insert_id
end


local function work(shop)
  local claim, batch = shop.require "till.flow.job_claim", shop.require "till.flow.job_batch"
  for _ = 1, 20 do
    local taking = assert(claim.take())
    batch.deliver(taking)
    if #taking.events == 0 then return end
  end
end


local function rows(shop, where)
  return shop.sql.query("SELECT type, state, attempts, aggregate, last_error FROM outbox WHERE "
    .. where .. " ORDER BY id")
end


t.describe("events that a plugin publishes", function()
  t.it("are those that it wants, as they are, each once", with_plugin(function(shop, mq)
    local first = event(shop, "order:1", "order.told")
    event(shop, "order:2", "payment.told")
    event(shop, "stock:1", "stock.low")
    event(shop, "stock:1", "stock.lower")
    work(shop)
    t.equal(#mq.told, 2)
    local got = mq.told[1].type == "order.told" and mq.told[1] or mq.told[2]
    t.same({ got.id, got.aggregate, got.type }, { tostring(first), "order:1", "order.told" })
    t.same(got.payload, { n = {} })
    t.ok(got.created_at:find("^%d+-%d+-%d+T.*Z$"), got.created_at)
    t.equal(#rows(shop, "state <> 'done'"), 0)
    t.equal(#rows(shop, "type = 'publish.mq'"), 2)
  end))

  t.it("come in order within their aggregate", with_plugin(function(shop, mq)
    for i = 1, 12 do event(shop, "order:" .. i % 3, "order.n" .. i) end
    work(shop)
    local last = {}
    for _, told in ipairs(mq.told) do
      t.ok(tonumber(told.id) > (last[told.aggregate] or 0), told.id)
      last[told.aggregate] = tonumber(told.id)
    end
    t.equal(#mq.told, 12)
  end))

  t.it("wait untried while the receiver is away, and nothing else does", with_plugin(
    function(shop, mq)
      mq.away = "unavailable"
      event(shop, "order:1", "order.told")
      event(shop, "order:1", "order.again")
      work(shop)
      t.equal(#rows(shop, "type LIKE 'order.%' AND state = 'done'"), 2)
      local waiting = rows(shop, "type = 'publish.mq'")
      t.same({ #waiting, waiting[1].state, waiting[1].attempts }, { 2, "pending", 0 })
      t.ok(waiting[1].last_error:find("not there", 1, true))
      mq.away = nil
      shop.require("till.flow.job_claim").pause("publish.mq", -1)
      work(shop)
      t.same({ #mq.told, mq.told[1].type, mq.told[2].type }, { 2, "order.told", "order.again" })
    end))

  t.it("that it cannot publish come again one by one", with_plugin(function(shop, mq)
    local bad = event(shop, "order:1", "order.bad")
    event(shop, "order:2", "order.good")
    mq.answer = function() return { failed = { [tostring(bad)] = "no queue" } } end
    work(shop)
    t.same(rows(shop, "type = 'publish.mq' AND state = 'pending'"), { { type = "publish.mq",
      state = "pending", attempts = 1, aggregate = "mq:order:1", last_error = "no queue" } })
    t.equal(#rows(shop, "type = 'publish.mq' AND state = 'done'"), 1)
  end))

  t.it("end as dead letters where the plugin itself is wrong", with_plugin(function(shop, mq)
    mq.away = "internal"
    event(shop, "order:1", "order.told")
    work(shop)
    local row = rows(shop, "type = 'publish.mq'")[1]
    t.same({ row.state, row.attempts }, { "pending", 1 })
  end))

  t.table({
    { why = "with a text for `failed`", answer = function() return { failed = "all" } end },
    { why = "with true for `failed`", answer = function() return { failed = true } end },
    { why = "with a list of ids", answer = function(events)
      return { failed = { events[1].id } }
    end },
    { why = "with an id as a number", answer = function(events)
      return { failed = { [tonumber(events[1].id)] = "no queue" } }
    end },
    { why = "with a reason that throws", answer = function(events)
      return { failed = { [events[1].id] = setmetatable({},
        { __tostring = function() error "no" end }) } }
    end },
    { why = "with no table", answer = function() return true end },
    { why = "with an error", answer = function() error "no" end },
  }, function(case)
    with_plugin(function(shop, mq)
      local asked = 0
      mq.answer = function(events)
        asked = asked + 1
        return case.answer(events)
      end
      event(shop, "order:1", "order.told")
      work(shop)
      event(shop, "product:1", "test.told") -- less important things go on
      work(shop)
      local row = rows(shop, "type = 'publish.mq'")[1]
      t.same({ asked, row.state, row.attempts, row.last_error ~= nil }, { 1, "pending", 1, true })
      t.equal(rows(shop, "type = 'test.told'")[1].state, "done")
    end)()
  end)

  t.it("are no reason to stop where an option of the plugin is odd", with_plugin(function(shop, mq)
    shop.require("till.plugin.dispatch").config("mq").events = "order.*"
    event(shop, "order:1", "order.told")
    event(shop, "payment:1", "payment.told")
    work(shop)
    t.equal(#mq.told, 0)
    for _, row in ipairs(rows(shop, "type LIKE '%.told'")) do
      t.same({ row.state, row.attempts, row.last_error ~= nil }, { "pending", 1, true })
    end
  end))

  t.it("that cannot be copied keep nobody else back", with_plugin(function(shop, mq)
    event(shop, "order:" .. ("x"):rep(153), "order.told") -- with the plugin's name it is too long
    event(shop, "order:1", "order.told")
    work(shop)
    t.same({ #mq.told, mq.told[1] and mq.told[1].aggregate }, { 1, "order:1" })
    local row = rows(shop, "state = 'pending'")[1]
    t.same({ row.attempts, row.last_error ~= nil }, { 1, true })
  end))

  t.it("are copied once, also where their event comes again", with_plugin(function(shop)
    event(shop, "order:1", "order.told")
    local claim = shop.require "till.flow.job_claim"
    local publish = shop.require "till.flow.publish"
    local taking = claim.take()
    t.ok(publish.hand_on(taking.events, taking.events[1].claim))
    t.ok(publish.hand_on(taking.events, taking.events[1].claim))
    t.equal(#rows(shop, "type = 'publish.mq'"), 1)
    shop.sql.exec("UPDATE outbox SET available_at = NOW(3) - INTERVAL 1 SECOND, published = FALSE"
      .. " WHERE type = 'order.told'")
    t.ok(#claim.take().events >= 1)
    t.ok(publish.hand_on(taking.events, taking.events[1].claim), "it is not ours any more")
    t.equal(#rows(shop, "type = 'publish.mq'"), 1)
  end))
end)
