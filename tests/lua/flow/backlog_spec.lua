local t = require "till.test"
local live = require "tests.support.live"


local function event(shop, fields)
  assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, state, available_at) VALUES"
    .. " (?, ?, '{}', ?, TIMESTAMPADD(SECOND, ?, UTC_TIMESTAMP(3)))", "spec:" .. fields.type,
    fields.type, fields.state or "pending", fields.due_s or 0))
end


local function flow(shop, aggregate, state, attempts, age_s)
  assert(shop.sql.exec("INSERT INTO sagas (name, aggregate, data, state, attempts, updated_at)"
    .. " VALUES ('checkout', ?, '{}', ?, ?, TIMESTAMPADD(SECOND, ?, UTC_TIMESTAMP(3)))", aggregate,
    state, attempts, -age_s))
end


t.describe("till.store.backlog", function()
  t.it("counts by type what is not delivered, and the dead", live.test(function(shop)
    local backlog = shop.require("till.store.backlog")
    t.same(backlog.outbox(), {})
    for _ = 1, 3 do event(shop, { type = "order.placed" }) end
    event(shop, { type = "order.paid", due_s = -90 })
    event(shop, { type = "order.paid", state = "done", due_s = -900 })
    event(shop, { type = "order.paid", state = "dead", due_s = -900 })
    event(shop, { type = "order.gone", state = "dead", due_s = -900 })
    assert(shop.sql.exec("UPDATE outbox SET claim = 7, available_at = available_at"
      .. " + INTERVAL 1 HOUR WHERE type = 'order.placed' LIMIT 2"))
    local found = backlog.outbox()
    local placed, paid, gone = found["order.placed"], found["order.paid"], found["order.gone"]
    t.same({ placed.pending, placed.running, placed.dead }, { 3, 2, 0 })
    t.same({ paid.pending, paid.running, paid.dead }, { 1, 0, 1 })
    t.same({ gone.pending, gone.running, gone.dead, gone.oldest_s }, { 0, 0, 1, 0 })
    t.ok(paid.oldest_s >= 90 and paid.oldest_s < 120, tostring(paid.oldest_s))
  end))

  t.it("does not call late what is not due", live.test(function(shop)
    event(shop, { type = "order.placed", due_s = 3600 })
    t.equal(shop.require("till.store.backlog").outbox()["order.placed"].oldest_s, 0)
  end))

  t.it("counts flows that are not over by their state", live.test(function(shop)
    flow(shop, "cart_1", "running", 1, 10)
    flow(shop, "cart_2", "waiting", 2, 20)
    flow(shop, "cart_3", "parked", 12, 700)
    flow(shop, "cart_4", "parked", 30, 20)
    flow(shop, "cart_5", "done", 30, 9000)
    flow(shop, "cart_6", "undone", 30, 9000)
    local n = {}
    for _, row in ipairs(assert(shop.require("till.store.backlog").sagas())) do
      n[row.state] = row.n
      if row.state == "parked" then t.ok(row.age_s >= 700 and row.age_s < 730) end
    end
    t.same(n, { running = 1, waiting = 1, parked = 2 })
  end))
end)


t.describe("till.flow.backlog", function()
  t.it("tells 0 of what was there and is no more", live.test(function(shop)
    local told = {}
    local prim = require "tests.support.prim"
    local world = prim.world {
      ["till.prim.metrics"] = { set = function(name, labels, value)
        told[name .. " " .. (labels and (labels.type or labels.state) or "")] = value
      end },
      ["till.prim.sql"] = shop.sql,
    }
    local backlog = world("till.flow.backlog")
    event(shop, { type = "order.placed" })
    flow(shop, "cart_1", "failed", 1, 10)
    t.equal(backlog.tell(), true)
    t.equal(told["till_outbox_pending order.placed"], 1)
    t.equal(told["till_sagas failed"], 1)
    assert(shop.sql.exec("DELETE FROM outbox"))
    assert(shop.sql.exec("DELETE FROM sagas"))
    t.equal(backlog.tell(), true)
    t.equal(told["till_outbox_pending order.placed"], 0)
    t.equal(told["till_sagas failed"], 0)
    t.equal(told["till_sagas_oldest_age_seconds "], 0)
  end))
end)
