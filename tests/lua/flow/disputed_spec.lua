local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"
local several = require "tests.support.several"


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. rest end


-- fn(s): an order of three at 9.99 that is captured, and what can be done with it
local function with_order(fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, "test", "tok_ok")
      local _, body = shop.complete(cart)
      shop.work()
      local s = { raw = raw, shop = shop, order = body.order, total = body.order.total.amount }
      s.payment = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1].id
      function s.told(event)
        local done, e = raw.sql.transaction(function(tx)
          local booked, why = raw.require("till.flow.booking").book(tx, s.payment, event)
          if booked == nil then return nil, why end
          return { booked } -- false is no failure
        end)
        if not done then return nil, e end
        return done[1]
      end
      function s.book(event)
        local done, e = s.told(event)
        t.ok(done, tostring(e))
      end
      function s.row()
        local p = raw.sql.one "SELECT state, refunded_amount AS n FROM payments"
        return { p.state, p.n }
      end
      function s.resume()
        several.later(raw, 60)
        for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
          raw.require("till.flow.cancellation_flow").resume(row)
        end
      end
      function s.resolve()
        local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1]
        return raw.admin("POST", ("/admin/v1/sagas/%d/resolve"):format(saga.id),
          { as = "done", reason = "by hand" }, shop.key())
      end
      function s.cancel() return raw.admin("POST", path_of(s.order, "/cancel"), { reason = "x" },
        shop.key()) end
      function s.refund(amount) return raw.admin("POST", path_of(s.order, "/refunds"),
        { amount = { amount = amount, currency = "GBP" }, reason = "x" }, shop.key()) end
      function s.sums()
        local out = {}
        for _, row in ipairs(raw.require("till.store.ledger").balance()) do
          if row.amount ~= 0 then out[row.account] = row.amount end
        end
        return out
      end
      fn(s)
    end)
  end
end


t.describe("an order of which several disputes are open at once", function()
  local function state(s)
    local p = s.raw.sql.one("SELECT state, disputed_amount AS d, lost_amount AS l FROM payments")
    return ("%s %d %d"):format(p.state, p.d, p.l)
  end

  local function opened(s)
    s.book { kind = "disputed", amount = 500, reference = "dp_one" }
    s.book { kind = "disputed", amount = 300, reference = "dp_two" }
    t.equal(s.told { kind = "disputed", amount = 300, reference = "dp_two" }, false)
    t.equal(state(s), "disputed 800 0")
  end

  for _, order in ipairs { { "won", "dp_one", "lost", "dp_two" },
    { "lost", "dp_two", "won", "dp_one" } } do
    t.it("has each end by itself, and once: " .. order[1] .. " first", with_order(function(s)
      opened(s)
      s.book { kind = order[1], reference = order[2] }
      t.equal(state(s), order[1] == "won" and "disputed 300 0" or "disputed 500 300")
      t.equal((s.refund(100)), 409)
      t.equal(s.told { kind = order[1], reference = order[2] }, false)
      local other = order[1] == "won" and "lost" or "won"
      local done, e = s.told { kind = other, reference = order[2] } -- of it alone, and it has ended
      t.same({ done, e.code, e.reason }, { nil, "conflict", "impossible" })
      s.book { kind = order[3], reference = order[4] }
      t.equal(state(s), "lost 0 300")
      local sums = s.sums()
      t.same({ sums["cash:test"], sums["disputed:test"], sums["losses:test"], sums.receivable },
        { s.total - 300, nil, 300, nil })
      local body = s.shop.must(s.cancel())
      t.equal(body.cancellation.amount.amount, s.total - 300)
      t.same(s.sums(), {})
    end))
  end

  t.it("gives all back once all were won", with_order(function(s)
    opened(s)
    s.book { kind = "won", reference = "dp_two" }
    s.book { kind = "won", reference = "dp_one" }
    t.equal(state(s), "won 0 0")
    s.shop.must(s.cancel())
    t.same(s.sums(), {})
  end))

  t.it("ends none that nobody has told of", with_order(function(s)
    s.book { kind = "disputed", amount = 100, reference = "dp_only" }
    t.equal(select(2, s.told { kind = "won", reference = "dp_nine" }).reason, "impossible")
    t.equal(state(s), "disputed 100 0")
    s.book { kind = "won", reference = "dp_only" }
  end))

  t.it("ends none of several that nobody has told of", with_order(function(s)
    opened(s)
    local done, e = s.told { kind = "won", reference = "dp_nine" }
    t.same({ done, e.reason, state(s) }, { nil, "impossible", "disputed 800 0" })
    done, e = s.told { kind = "disputed", amount = s.total - 799, reference = "dp_more" }
    t.same({ done, e.reason }, { nil, "too_much" })
    -- a server from before gave what it wrote by hand no name
    s.raw.sql.exec("UPDATE payment_events SET reference = NULL WHERE reference = 'dp_two'")
    s.book { kind = "lost", reference = "dp_nine" }
    t.equal(state(s), "disputed 500 300")
  end))
end)


t.describe("an order whose payment was disputed", function()
  t.it("gives nothing back while the dispute goes on, and says why", with_order(function(s)
    s.book { kind = "disputed", amount = 500, reference = "dp_one" }
    local status, problem = s.cancel()
    t.same({ status, problem.code }, { 409, "conflict" })
    t.ok(problem.detail:find("wait until the dispute", 1, true), problem.detail)
    t.equal((s.refund(100)), 409)
    t.equal(s.shop.count("cancellations"), 0)
    t.equal(s.shop.inventory("TEA").on_hand, 2)
  end))

  t.it("gives all of it back once that was won", with_order(function(s)
    s.book { kind = "disputed", amount = 500, reference = "dp_one" }
    s.book { kind = "won", reference = "dp_one" }
    local body = s.shop.must(s.cancel())
    t.same({ body.cancellation.money, body.cancellation.amount.amount, body.order.payment_status },
      { "refund", s.total, "refunded" })
    t.same(s.sums(), {})
  end))

  t.it("gives the rest back where a part was lost, and the loss is none any more", with_order(
    function(s)
      s.book { kind = "disputed", amount = 500, reference = "dp_one" }
      s.book { kind = "lost", reference = "dp_one" }
      t.equal((s.refund(s.total - 499)), 409)
      s.shop.must(s.refund(200))
      local body = s.shop.must(s.cancel())
      t.same({ body.cancellation.money, body.cancellation.amount.amount },
        { "refund", s.total - 700 })
      t.same(s.sums(), {})
      t.equal(s.raw.sql.one("SELECT refunded_amount AS n FROM payments").n, s.total - 500)
    end))

  t.it("owes nothing where all was lost", with_order(function(s)
    s.book { kind = "disputed", reference = "dp_one" }
    s.book { kind = "lost", reference = "dp_one" }
    local body = s.shop.must(s.cancel())
    t.same({ body.cancellation.money, body.cancellation.state, body.cancellation.amount.amount },
      { "none", "done", 0 })
    t.same(s.sums(), {})
  end))

  -- More is on its way than the bank has left: nothing is left then, and no less.
  t.it("owes nothing where all was lost while a refund was on its way", with_order(function(s)
    s.raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided'")
    t.equal((s.refund(300)), 202)
    s.book { kind = "disputed", reference = "dp_one" }
    s.book { kind = "lost", reference = "dp_one" }
    local status, problem = s.refund(100)
    t.equal(status, 409)
    t.ok(problem.detail:find("^only 0 of what was captured is left"), problem.detail)
    local body = s.shop.must(s.cancel())
    t.same({ body.cancellation.money, body.cancellation.state, body.cancellation.amount.amount },
      { "none", "done", 0 })
    t.same(s.sums(), { receivable = -300, goodwill = 300 })
  end))

  t.it("books a refund that was on its way when the dispute came", with_order(function(s)
    local payment = s.raw.require "till.flow.payment"
    local was = payment.ask_refund
    payment.ask_refund = function(...)
      local answer, e = was(...)
      payment.ask_refund = was
      s.book { kind = "disputed", amount = 500, reference = "dp_one" }
      return answer, e
    end
    t.equal(s.shop.must(s.refund(300)).refund.state, "done")
    s.book { kind = "won", reference = "dp_one" }
    s.shop.must(s.cancel())
    t.same(s.sums(), {})
  end))

  -- The bank knows nothing of what the shop gave back by itself.
  t.it("is disputed as a whole though a part went back", with_order(function(s)
    s.shop.must(s.refund(400))
    s.book { kind = "disputed", amount = s.total, reference = "dp_one" }
    t.equal((s.cancel()), 409)
    s.book { kind = "lost", reference = "dp_one" }
    local sums = s.sums()
    t.same({ sums["cash:test"], sums["losses:test"], sums.goodwill, sums["disputed:test"],
      sums.receivable }, { -400, s.total, 400, nil, nil })
    local body = s.shop.must(s.cancel())
    t.same({ body.cancellation.money, body.cancellation.amount.amount }, { "none", 0 })
    t.same(s.sums(), { ["cash:test"] = -400, goodwill = 400 })
    t.equal(s.raw.sql.one("SELECT refunded_amount AS n FROM payments").n, 400)
  end))

  t.it("is disputed though all of it went back, and is as it was when that is won", with_order(
    function(s)
      s.shop.must(s.refund(s.total))
      local before = s.sums()
      local function state() return s.raw.sql.one("SELECT state FROM payments").state end
      s.book { kind = "disputed", amount = s.total, reference = "dp_one" }
      t.equal(state(), "disputed")
      t.equal(s.sums()["disputed:test"], s.total)
      s.book { kind = "won", reference = "dp_one" }
      t.equal(state(), "refunded")
      t.same(s.sums(), before)
      s.book { kind = "disputed", amount = s.total, reference = "dp_two" }
      s.book { kind = "lost", reference = "dp_two" }
      t.equal(s.sums()["losses:test"], s.total)
    end))

  -- One webhook tells of both, and what it has of the refund waits for who asked for it.
  t.it("books a refund whose answer was lost, and that is heard of after the dispute of all",
    with_order(function(s)
      local dispatch, is_lost = s.raw.require "till.plugin.dispatch", true
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, ...)
        local answer, e = was(name, hook, ...)
        if hook ~= "payment.refund" then return answer, e end
        return is_lost and { outcome = "unknown" } or { outcome = "refunded", refund_ref = "re_1" }
      end
      t.equal((s.refund(400)), 202)
      local ours = { kind = "refunded", amount = 400, reference = "re_1", is_ours = true }
      t.equal(s.told(ours), false)
      s.book { kind = "disputed", amount = s.total, reference = "dp_one" }
      is_lost = false
      s.resume()
      dispatch.plugin = was
      t.equal(s.shop.count("sagas", "state = 'done' AND name = 'cancellation'"), 1)
      t.same(s.row(), { "disputed", 400 })
      t.same({ s.sums()["cash:test"], s.sums().goodwill }, { -400, 400 })
      t.equal(s.told(ours), false)
      s.book { kind = "lost", reference = "dp_one" }
      s.shop.must(s.cancel())
      t.same(s.sums(), { ["cash:test"] = -400, goodwill = 400 })
    end))

  t.it("books what was given back at the provider though a bank has it", with_order(function(s)
    s.book { kind = "disputed", reference = "dp_one" }
    s.book { kind = "refunded", amount = 400, reference = "re_1" }
    t.same(s.row(), { "disputed", 400 })
    s.book { kind = "lost", reference = "dp_one" }
    s.book { kind = "refunded", amount = s.total - 400, reference = "re_2" }
    t.same(s.row(), { "lost", s.total })
    t.equal(s.sums()["cash:test"], -s.total)
    local done, e = s.told { kind = "refunded", amount = 1, reference = "re_3" }
    t.same({ done == nil, e.reason }, { true, "too_much" })
  end))

  -- fn(s): a refund of 400 that is parked, of what a bank has taken for good
  local function parked(fn)
    return with_order(function(s)
      s.raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided'")
      t.equal((s.refund(400)), 202)
      s.book { kind = "disputed", reference = "dp_one" }
      s.book { kind = "lost", reference = "dp_one" }
      fn(s)
    end)
  end

  t.it("takes no word of staff that something went back which a bank has", parked(function(s)
    s.shop.must(s.resolve())
    t.same({ s.row(), s.sums()["losses:test"] }, { { "lost", 0 }, s.total })
    t.equal(s.shop.count("cancellations", "amount = 0"), 1)
  end))

  t.it("takes the word of staff for a refund that the provider has named", parked(function(s)
    s.raw.sql.exec("UPDATE sagas SET data = JSON_SET(data, '$.refund_ref', 're_1')"
      .. " WHERE name = 'cancellation'")
    s.shop.must(s.resolve())
    t.same({ s.row(), s.sums()["cash:test"] }, { { "lost", 400 }, -400 })
    t.equal(s.shop.count("cancellations", "amount = 400"), 1)
  end))
end)
