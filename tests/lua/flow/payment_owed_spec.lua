-- What a shopper is asked for is never more than is owed when he pays, whatever happens meanwhile.
local again = require "tests.support.again"
local random = require "tests.support.random"
local several = require "tests.support.several"
local t = require "till.test"
local with_shop = require "tests.support.stock"

local placed, ask, due, gbp = again.placed, again.ask, again.due, again.gbp


local function booker(raw)
  return function(payment_id, event)
    return raw.sql.transaction(function(tx)
      local done, e = raw.require("till.flow.booking").book(tx, payment_id, event)
      if done == nil then return nil, e end
      return { done }
    end)
  end
end


local function captured(shop, raw)
  local order = placed(shop)
  shop.work()
  return order, several.of_order(shop, raw, order).payments[1].id
end


local function asked_for(raw)
  local row = raw.sql.one "SELECT amount FROM payment_requests"
  return row and row.amount or 0
end


-- By sums that no code of the shop's makes: what was sold, less what was let off, less what is
-- there or to come. A bank that disputes it has it for the shop.
local OWED = [[SELECT CAST(o.total - COALESCE((SELECT SUM(c.amount) FROM cancellations c
    WHERE c.order_id = o.id), 0)
  + COALESCE((SELECT SUM(c.amount - c.released_amount) FROM cancellations c WHERE c.order_id = o.id
    AND c.state = 'pending' AND c.money = 'refund'), 0)
  - (SELECT SUM(IF(p.state IN ('captured', 'refunded', 'disputed', 'won', 'lost'),
      COALESCE(p.capture_amount, p.amount), 0) - p.refunded_amount - p.lost_amount
    + IF(p.state IN ('authorized', 'captured', 'disputed', 'won', 'lost'), p.amount
      - p.released_amount - IF(p.state = 'authorized', 0, COALESCE(p.capture_amount, p.amount)),
      0)) FROM payments p WHERE p.order_id = o.id) AS SIGNED) AS n FROM orders o]]


t.describe("a request for payment", function()
  t.it("asks for less once a refund that was made at the provider did not get there", with_shop(
    function(shop, raw)
      local order, p = captured(shop, raw)
      local book = booker(raw)
      book(p, { kind = "refunded", amount = 400, reference = "re_1" })
      shop.must(ask(shop, raw, order))
      t.same({ due(shop, raw, order), asked_for(raw) }, { 400, 400 })
      book(p, { kind = "refund_failed", amount = 400, reference = "re_1" })
      t.same({ due(shop, raw, order), asked_for(raw) }, { 0, 0 })
      -- what is owed anew is not due before staff say so
      book(p, { kind = "refunded", amount = 300, reference = "re_2" })
      t.equal(due(shop, raw, order), 0)
    end))

  t.it("is refused at the moment of paying where it is owed no more", with_shop(
    function(shop, raw)
      local order, p = captured(shop, raw)
      local book = booker(raw)
      book(p, { kind = "refunded", amount = 400, reference = "re_1" })
      shop.must(ask(shop, raw, order))
      local one = again.session(shop, raw, order)
      book(p, { kind = "refund_failed", amount = 400, reference = "re_1" })
      local status = again.pay(shop, raw, order, one)
      t.same({ status, shop.count("payments", "state IN ('authorized', 'captured')") }, { 409, 1 })
    end))

  t.it("of what a bank took asks for nothing that the shop holds besides", with_shop(
    function(shop, raw)
      local order, p = captured(shop, raw)
      local book = booker(raw)
      book(p, { kind = "refunded", amount = 400, reference = "re_1" })
      shop.must(ask(shop, raw, order))
      shop.must(again.pay(shop, raw, order, again.session(shop, raw, order)))
      shop.work()
      book(p, { kind = "refund_failed", amount = 400, reference = "re_1" }) -- 400 too much is here
      book(p, { kind = "disputed", amount = 500, reference = "dp_1" })
      book(p, { kind = "lost", reference = "dp_1" })
      shop.must(ask(shop, raw, order))
      t.same({ due(shop, raw, order), asked_for(raw) }, { 100, 100 })
      t.equal((ask(shop, raw, order, { amount = gbp(101) })), 422)
    end))

  t.it("is lowered where staff settle a cancellation of which a bank has the money", with_shop(
    function(shop, raw)
      local order, p = captured(shop, raw)
      local book = booker(raw)
      raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided'")
      t.equal((raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel", { reason = "spec",
        lines = { { line_id = order.lines[1].id, quantity = 1 } } }, shop.key())), 202)
      book(p, { kind = "disputed", amount = several.TOTAL, reference = "dp_1" })
      book(p, { kind = "lost", reference = "dp_1" })
      shop.must(ask(shop, raw, order))
      t.equal(asked_for(raw), several.TOTAL)
      local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1]
      shop.must(raw.admin("POST", ("/admin/v1/sagas/%d/resolve"):format(saga.id),
        { as = "done", reason = "his bank gave it to him" }, shop.key()))
      t.same({ asked_for(raw), due(shop, raw, order) }, { several.TOTAL - 1000,
        several.TOTAL - 1000 })
    end))
end)


t.describe("whatever happens while a shopper is asked to pay", function()
  local function acts_of(shop, raw, order, p, draw)
    local book, n, refs, open = booker(raw), 0, {}, {}
    local function some(list) return list[draw(math.max(1, #list)) + 1] or "none" end
    local function name(prefix, list)
      n = n + 1
      list[#list + 1] = prefix .. n
      return prefix .. n
    end
    return {
      function() book(p, { kind = "captured", amount = 1 + draw(900),
        reference = "ch_" .. draw(99) }) end,
      function() book(p, { kind = "refunded", amount = 1 + draw(500),
        reference = name("re_", refs) }) end,
      function() book(p, { kind = "refund_failed", reference = some(refs) }) end,
      function() book(p, { kind = "disputed", amount = 1 + draw(700),
        reference = name("dp_", open) }) end,
      function() book(p, { kind = "won", reference = some(open) }) end,
      function() book(p, { kind = "lost", reference = some(open) }) end,
      function()
        if draw(4) == 0 then
          book(p, { kind = "voided", reason = "expired", actor = "provider:test" })
        end
      end,
      function() ask(shop, raw, order) end,
      function() ask(shop, raw, order, { amount = gbp(1 + draw(600)) }) end,
      function()
        local status, body = again.begin(shop, raw, order, nil, nil)
        if status == 201 then again.pay(shop, raw, order, body.payment_session) end
      end,
      function()
        raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/refunds",
          { amount = gbp(1 + draw(90)), reason = "spec" }, shop.key())
      end,
    }
  end

  for seed = 1, 4 do
    t.it("he is asked for no more than is owed: " .. seed, with_shop(function(shop, raw)
      local numbers = random.new(seed * 7919)
      local order = placed(shop)
      raw.sql.exec "DELETE FROM outbox WHERE type = 'payment.capture'"
      local p = several.of_order(shop, raw, order).payments[1].id
      local acts, most = acts_of(shop, raw, order, p, numbers.below), 0
      for step = 1, 60 do
        acts[numbers.below(#acts) + 1]()
        local owed = math.max(0, raw.sql.one(OWED).n)
        local asked, shown = asked_for(raw), due(shop, raw, order)
        t.ok(asked <= owed and shown <= owed, ("step %d: %d is asked for, %d shown, %d owed")
          :format(step, asked, shown, owed))
        most = math.max(most, shown)
      end
      t.ok(most > 0, "he was asked for something")
      t.equal(#raw.require("till.store.ledger").unbalanced(), 0)
      t.ok(shop.count("outbox", "type = 'order.paid'") <= 1, "told once")
    end))
  end
end)
