local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. rest end


-- fn(s): an order of three at 9.99, captured where `is_captured`
local function with_order(is_captured, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, "test", "tok_ok")
      local _, body = shop.complete(cart)
      if is_captured then shop.work() end
      local s = { raw = raw, shop = shop, order = body.order, total = body.order.total.amount }
      s.payment = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1].id
      function s.told(event) -- as by a webhook
        local booking = raw.require "till.flow.booking"
        local done, e = raw.sql.transaction(function(tx)
          return booking.book(tx, s.payment, event)
        end)
        t.ok(done, tostring(e))
      end
      function s.cancel() return raw.admin("POST", path_of(s.order, "/cancel"), { reason = "x" },
        shop.key()) end
      function s.refund(amount) return raw.admin("POST", path_of(s.order, "/refunds"),
        { amount = { amount = amount, currency = "GBP" }, reason = "x" }, shop.key()) end
      function s.resolve()
        local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1]
        return raw.admin("POST", ("/admin/v1/sagas/%d/resolve"):format(saga.id),
          { as = "done", reason = "by hand" }, shop.key())
      end
      function s.provider(state)
        raw.sql.exec("UPDATE payment_test_attempts SET state = '" .. state .. "'"
          .. (state == "captured" and ", captured_amount = amount" or ""))
      end
      function s.refunded() return raw.sql.one("SELECT refunded_amount AS n FROM payments").n end
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


local function forget_since(s)
  s.raw.sql.exec("UPDATE sagas SET data = JSON_REMOVE(data, '$.since') WHERE name = 'cancellation'")
end


local function killed() error("killed", 0) end


-- Whoever calls it dies as soon as its transaction is committed.
local function dies_behind(s, module, name)
  local m, sql = s.raw.require(module), s.raw.sql
  local fn, transaction, is_called = m[name], sql.transaction, false
  m[name] = function(...)
    is_called = true
    return fn(...)
  end
  sql.transaction = function(...)
    local done, e = transaction(...)
    if not is_called then return done, e end
    m[name], sql.transaction = fn, transaction
    killed()
  end
end


-- What a jobs worker does with the flow when its claim is over. -> its state, or why it died
local function resume(s)
  s.raw.clock.skip_ms = s.raw.clock.skip_ms + 60000
  local rows = s.raw.require("till.store.sagas").stuck(20)
  t.equal(#rows, 1)
  local _, said = pcall(s.raw.require("till.flow.cancellation_flow").resume, rows[1])
  return said
end


t.describe("a refund that was parked and made at the provider by hand", function()
  for _, case in ipairs { { "that knows when it was decided", function() end },
    { "from before that was kept", forget_since } } do
    t.it("is booked once, in a flow " .. case[1], with_order(true, function(s)
      s.provider "voided"
      t.equal((s.refund(300)), 202)
      case[2](s)
      s.told { kind = "refunded", amount = 300, reference = "re_hand" }
      s.shop.must(s.resolve())
      t.equal(s.refunded(), 300)
      t.equal(s.shop.count("cancellations", "state = 'done'"), 1)
    end))

    t.it("is done where all went back, in a flow " .. case[1], with_order(true, function(s)
      s.provider "voided"
      t.equal((s.cancel()), 202)
      case[2](s)
      s.told { kind = "refunded", reference = "re_hand" }
      s.shop.must(s.resolve())
      t.same({ s.refunded(), s.sums() }, { s.total, {} })
    end))
  end

  t.it("is done where all went back in other parts", with_order(true, function(s)
    s.provider "voided"
    t.equal((s.cancel()), 202)
    s.told { kind = "refunded", amount = 1000, reference = "re_one" }
    s.told { kind = "refunded", reference = "re_two" }
    s.shop.must(s.resolve())
    t.same({ s.refunded(), s.sums() }, { s.total, {} })
  end))
end)


t.describe("money that was to go back, and that a bank has taken meanwhile", function()
  local function disputed(s, amount)
    s.told { kind = "disputed", amount = amount, reference = "dp_one" }
  end

  local function lost(s, amount)
    disputed(s, amount)
    s.told { kind = "lost", reference = "dp_one" }
  end

  local function amounts(s)
    return s.raw.sql.query("SELECT kind, amount FROM cancellations WHERE state = 'done'"
      .. " ORDER BY position")
  end

  t.it("is resolved once it was lost, and the loss is none any more", with_order(true, function(s)
    s.provider "voided"
    t.equal((s.cancel()), 202)
    disputed(s)
    local status, problem = s.resolve()
    t.same({ status, problem.code }, { 409, "conflict" })
    t.ok(problem.detail:find("wait until the dispute", 1, true), problem.detail)
    s.told { kind = "lost", reference = "dp_one" }
    s.shop.must(s.resolve())
    t.same({ s.refunded(), s.sums() }, { 0, {} })
    t.same(amounts(s), { { kind = "cancel", amount = 0 } })
    t.equal(s.shop.count("sagas", "name = 'cancellation' AND state = 'parked'"), 0)
  end))

  t.it("is resolved with what is held where a part was lost", with_order(true, function(s)
    s.provider "voided"
    t.equal((s.cancel()), 202)
    lost(s, 500)
    s.shop.must(s.resolve())
    t.same({ s.refunded(), s.sums() }, { s.total - 500, {} })
    t.same(amounts(s), { { kind = "cancel", amount = s.total - 500 } })
  end))

  t.it("was not given as goodwill", with_order(true, function(s)
    s.provider "voided"
    t.equal((s.refund(300)), 202)
    lost(s)
    s.shop.must(s.resolve())
    t.same(amounts(s), { { kind = "refund", amount = 0 } })
    t.equal(s.sums().goodwill, nil)
    s.shop.must(s.cancel())
    t.same({ s.refunded(), s.sums() }, { 0, {} })
  end))

  -- What was told of pays for its part, and is no loss.
  t.it("is resolved with what is held where a part went back there", with_order(true, function(s)
    s.provider "voided"
    t.equal((s.cancel()), 202)
    s.told { kind = "refunded", amount = 1000, reference = "re_hand" }
    s.shop.must(s.resolve())
    t.same({ s.refunded(), s.sums() }, { s.total, {} })
    t.same(amounts(s), { { kind = "cancel", amount = s.total } })
  end))

  t.it("is resolved where a part went back there and the rest was lost", with_order(true,
    function(s)
      s.provider "voided"
      t.equal((s.cancel()), 202)
      s.told { kind = "refunded", amount = 1000, reference = "re_hand" }
      lost(s, s.total - 1000)
      s.shop.must(s.resolve())
      t.same({ s.refunded(), s.sums() }, { 1000, {} })
      t.same(amounts(s), { { kind = "cancel", amount = 1000 } })
    end))
end)


t.describe("a cancellation of what was captured at the provider by hand", function()
  t.it("gives it back", with_order(false, function(s)
    s.provider "captured"
    local body = s.shop.must(s.cancel())
    t.same({ body.cancellation.state, body.cancellation.money, body.order.payment_status },
      { "done", "refund", "refunded" })
    t.same({ s.refunded(), s.sums() }, { s.total, {} })
    t.equal(s.raw.sql.one("SELECT released_amount AS n FROM payments").n, 0)
    t.equal(s.raw.sql.one("SELECT CAST(SUM(amount) AS SIGNED) AS n FROM payment_test_refunds").n,
      s.total)
  end))

  -- What the first attempt read was undone elsewhere: only what the last one reads counts.
  t.it("gives it back where a deadlock took it when it had seen that all went back",
    with_order(false, function(s)
      local booking, sagas = s.raw.require "till.flow.booking", s.raw.require "till.store.sagas"
      local amounts, save, deadlocks = booking.amounts, sagas.save, 0
      booking.amounts = function(...)
        local now, e = amounts(...)
        if now and deadlocks == 0 then now.held = 0 end
        return now, e
      end
      sagas.save = function(row, fields, tx)
        if not tx or deadlocks > 0 then return save(row, fields, tx) end
        deadlocks = deadlocks + 1
        return nil, s.raw.require("till.util.err").new("deadlock", "spec")
      end
      s.provider "captured"
      local body = s.shop.must(s.cancel())
      booking.amounts, sagas.save = amounts, save
      t.equal(deadlocks, 1)
      t.equal(body.cancellation.state, "done")
      t.same({ s.refunded(), s.sums() }, { s.total, {} })
    end))

  t.it("is done where it went back there as well", with_order(false, function(s)
    s.provider "captured"
    s.provider "refunded"
    local body = s.shop.must(s.cancel())
    t.same({ body.cancellation.state, body.order.payment_status }, { "done", "refunded" })
    t.same({ s.refunded(), s.sums() }, { s.total, {} })
    t.equal(s.shop.count("payment_test_refunds"), 0)
  end))

  t.it("is resolved by hand where a webhook told of the capture", with_order(false, function(s)
    s.provider "declined"
    t.equal((s.cancel()), 202)
    s.told { kind = "captured", reference = "ch_hand" }
    s.shop.must(s.resolve())
    t.same({ s.refunded(), s.sums() }, { s.total, {} })
  end))

  -- That it is a refund now, and of how much, is written in one transaction: who resumes it knows
  -- both.
  for _, case in ipairs { { "a part of it", 500 }, { "all of it" } } do
    t.it("goes on where its worker dies as it turns to a refund, and there went back " .. case[1],
      with_order(false, function(s)
        local payment = s.raw.require "till.flow.payment"
        local ask_void = payment.ask_void
        payment.ask_void = killed
        t.equal((s.cancel()), 500)
        payment.ask_void = ask_void
        s.provider "captured"
        s.told { kind = "captured", reference = "ch_hand" }
        s.told { kind = "refunded", amount = case[2], reference = "re_hand" }
        dies_behind(s, "till.store.cancellations", "to_refund")
        t.equal(resume(s), "killed")
        t.equal(resume(s), "done")
        t.same({ s.refunded(), s.sums() }, { s.total, {} })
        t.equal(s.shop.count("cancellations", "state = 'done' AND money = 'refund'"), 1)
        t.equal(s.raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
          .. " FROM payment_test_refunds").n, case[2] and s.total - case[2] or 0)
      end))
  end
end)
