local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


-- fn(book, raw, shop, payment): an order of 2997 that was authorized at once.
local function with_order(fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, "test", "tok_ok")
      shop.must(shop.complete(cart))
      local booking = raw.require "till.flow.booking"
      local p = shop.must(raw.admin("GET", "/admin/v1/payments")).data[1]
      p = { id = p.id, amount = p.amount.amount }
      fn(function(event)
        local said
        local done, e = raw.sql.transaction(function(tx)
          local out, e = booking.book(tx, p.id, event)
          if out == nil then return nil, e end
          said = out
          return true
        end)
        if not done then return nil, e end
        return said
      end, raw, shop, p, booking)
    end)
  end
end


local function cash_of(raw, account)
  return tonumber(raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
    .. " FROM ledger_entries WHERE account = ?", account).n)
end


t.describe("till.flow.booking", function()
  t.it("finds the events of an order that was placed at once, and books a capture once",
    with_order(function(book, raw, shop, p, booking)
      t.equal(booking.amounts(p.id).state, "authorized")
      local paid = book { kind = "captured", reference = "ch_one", fee = 59 }
      t.same({ paid.state, paid.capture_amount }, { "captured", p.amount })
      t.equal(book { kind = "captured", reference = "ch_one" }, false)
      t.equal(booking.amounts(p.id).captured, p.amount)
      t.same({ cash_of(raw, "cash:test"), cash_of(raw, "fees:test"), cash_of(raw, "receivable") },
        { p.amount - 59, 59, 0 })
      t.equal(shop.count("orders", "payment_status = 'captured'"), 1)
    end))

  t.it("counts parts, refuses what does not fit, and takes a dispute out of cash", with_order(
    function(book, raw, _, p, booking)
      book { kind = "captured", amount = 1000, reference = "ch_one" }
      book { kind = "captured", amount = 500, reference = "ch_two" }
      local none, e = book { kind = "refunded", amount = 1501, reference = "re_big" }
      t.same({ none, e.code, e.reason }, { nil, "conflict", "too_much" })
      book { kind = "refunded", amount = 300, reference = "re_one" }
      book { kind = "disputed", amount = 700, reference = "dp_one" }
      t.same({ cash_of(raw, "cash:test"), cash_of(raw, "disputed:test") }, { 500, 700 })
      local lost = book { kind = "lost", reference = "dp_one" }
      t.same({ lost.state, lost.capture_amount, lost.refunded_amount, lost.lost_amount,
        lost.disputed_amount }, { "lost", 1500, 300, 700, 0 })
      t.same({ cash_of(raw, "cash:test"), cash_of(raw, "disputed:test"),
        cash_of(raw, "losses:test") }, { 500, 0, 700 })
      t.equal(booking.amounts(p.id).held, 500)
    end))

  t.it("names what the shop wrote down itself, instead of booking it again", with_order(
    function(book, raw, shop, p, booking)
      shop.must(raw.admin("POST", "/admin/v1/payments/" .. p.id .. "/capture", {}, shop.key()))
      t.equal(book { kind = "captured", amount = p.amount, reference = "ch_one" }, false)
      local seen = booking.amounts(p.id)
      t.same({ seen.captured, cash_of(raw, "cash:test") }, { p.amount, p.amount })
      t.equal(raw.sql.one("SELECT reference AS r FROM payment_events WHERE kind = 'captured'").r,
        "ch_one")
    end))

  -- fn: what the provider's webhook books after the refund was asked for and before it is booked
  local function told_meanwhile(raw, ref, fn)
    local payment = raw.require "till.flow.payment"
    local was = payment.ask_refund
    payment.ask_refund = function(...)
      local answer, e = was(...)
      payment.ask_refund = was
      fn()
      if answer then answer.refund_ref = ref end
      return answer, e
    end
  end

  local function give_back(raw, shop, amount)
    local order = shop.must(raw.admin("GET", "/admin/v1/orders")).data[1]
    return shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/refunds",
      { amount = { amount = amount, currency = order.total.currency }, reason = "spec" },
      shop.key())).refund
  end

  for _, case in ipairs { { "without its id", nil }, { "with its id", "re_one" } } do
    t.it("books a refund once that its provider told of first, answered " .. case[1], with_order(
      function(book, raw, shop, p, booking)
        shop.work()
        book { kind = "refunded", amount = 300, reference = "re_by_hand" } -- another, and before
        told_meanwhile(raw, case[2], function()
          t.ok(book { kind = "refunded", amount = 300, reference = "re_one" })
        end)
        t.equal(give_back(raw, shop, 300).state, "done")
        t.same({ booking.amounts(p.id).refunded, cash_of(raw, "cash:test") },
          { 600, p.amount - 600 })
        -- What was told is one refund's: the next of this amount is another.
        told_meanwhile(raw, nil, function() end)
        t.equal(give_back(raw, shop, 300).state, "done")
        t.same({ booking.amounts(p.id).refunded, cash_of(raw, "cash:test") },
          { 900, p.amount - 900 })
        t.equal(book { kind = "refunded", amount = 300, reference = "re_two",
          is_ours = true }, false)
        t.equal(booking.amounts(p.id).refunded, 900)
        t.equal(raw.sql.one("SELECT refunded_amount AS n FROM payments").n, 900)
      end))
  end

  -- The provider has told of two of this amount before either of ours is written down.
  t.it("takes the oldest refund first of those that its provider told of", with_order(
    function(book, raw, shop, p, booking)
      shop.work()
      local function told(ref) t.ok(book { kind = "refunded", amount = 300, reference = ref }) end
      told_meanwhile(raw, nil, function()
        told "re_one"
        told "re_two"
      end)
      give_back(raw, shop, 300)
      local function ours()
        local out = {}
        for i, row in ipairs(raw.sql.query("SELECT reference FROM payment_events"
          .. " WHERE kind = 'refunded' AND actor NOT LIKE 'provider:%' ORDER BY seq")) do
          out[i] = row.reference
        end
        return out
      end
      t.same(ours(), { "re_one" })
      t.equal(booking.amounts(p.id).refunded, 600)
    end))

  t.it("keeps the provider's id of a refund that it asked for, and takes no other for it",
    with_order(function(book, raw, shop, p, booking)
      shop.work()
      give_back(raw, shop, 300)
      told_meanwhile(raw, "re_two", function() end)
      give_back(raw, shop, 300)
      t.same({ booking.amounts(p.id).refunded, cash_of(raw, "cash:test") },
        { 600, p.amount - 600 })
      t.equal(book { kind = "refunded", amount = 300, reference = "re_two",
          is_ours = true }, false)
      t.equal(book { kind = "refunded", amount = 300, reference = "re_one",
          is_ours = true }, false)
      t.equal(booking.amounts(p.id).refunded, 600)
    end))

  t.it("books a refund of the provider's dashboard beside one of its own of the same amount",
    with_order(function(book, raw, shop, p, booking)
      shop.work()
      give_back(raw, shop, 300)
      raw.sql.exec("UPDATE payment_events SET reference = NULL WHERE kind = 'refunded'")
      local ours = { kind = "refunded", amount = 300, reference = "re_own", is_ours = true }
      t.ok(book { kind = "refunded", amount = 300, reference = "re_dashboard" })
      t.equal(book(ours), false)
      t.equal(book(ours), false)
      t.same({ booking.amounts(p.id).refunded, cash_of(raw, "cash:test") },
        { 600, p.amount - 600 })
      t.equal(raw.sql.one("SELECT actor AS a FROM payment_events WHERE reference = 're_own'").a
        :find("provider", 1, true), nil)
    end))

  t.it("leaves a refund of its own that is not written down yet to who asked for it", with_order(
    function(book, raw, shop, p, booking)
      shop.work()
      told_meanwhile(raw, "re_own", function()
        t.equal(book { kind = "refunded", amount = 300, reference = "re_own", is_ours = true },
          false)
      end)
      give_back(raw, shop, 300)
      t.equal(booking.amounts(p.id).refunded, 300)
    end))

  -- As a server from before the events leaves a row.
  for _, case in ipairs { { "all", "1 = 1" }, { "the later ones", "kind = 'captured'" } } do
    t.it("restores events that an old server did not write: " .. case[1], with_order(
      function(book, raw, shop, p, booking)
        shop.work()
        raw.sql.exec("DELETE FROM payment_events WHERE " .. case[2])
        raw.sql.exec("UPDATE payments SET refunded_amount = 100")
        t.same({ booking.amounts(p.id).state, booking.amounts(p.id).refunded },
          { "captured", 100 })
        t.equal(book({ kind = "refunded", amount = 300, reference = "re_one" }).refunded_amount,
          400)
        t.equal(shop.count("payment_events", "kind IN ('created', 'send', 'authorized',"
          .. " 'captured')"), 4)
        t.same({ booking.amounts(p.id).captured, booking.amounts(p.id).refunded },
          { p.amount, 400 })
      end))
  end

  -- fn(book, raw, shop, p): a cart of 2997 whose shopper has to confirm; so its payment waits alone
  local function without_order(fn)
    return function()
      live.with(function(raw)
        local shop = make_shop(raw)
        local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
        shop.pay(cart, "test", "tok_requires_action")
        shop.complete(cart)
        local booking, payments = raw.require "till.flow.booking", raw.require "till.store.payments"
        local p = payments.of_cart(cart)[1]
        t.same({ p.state, p.order_id }, { "requires_action" })
        fn(function(event)
          local done, e = raw.sql.transaction(function(tx)
            return booking.book(tx, p.id, event)
          end)
          t.ok(done, e)
        end, raw, shop, p, cart, booking)
      end)
    end
  end

  local function all_accounts(raw)
    local out = {}
    for _, row in ipairs(raw.require("till.store.ledger").balance()) do
      out[row.account] = row.amount
    end
    return out
  end

  t.it("keeps money without an order in suspense, and the order takes it from there",
    without_order(function(book, raw, shop, p, cart)
      book { kind = "captured", reference = "ch_one", fee = 59 }
      t.same(all_accounts(raw), { ["cash:test"] = p.amount - 59, ["fees:test"] = 59,
        ["suspense:test"] = -p.amount })
      book { kind = "refunded", amount = 300, reference = "re_one" }
      t.same(all_accounts(raw), { ["cash:test"] = p.amount - 359, ["fees:test"] = 59,
        ["suspense:test"] = 300 - p.amount })
      local order = shop.must(shop.complete(cart)).order
      t.equal(order.payment_status, "partially_refunded")
      local now = all_accounts(raw)
      t.same({ now["cash:test"], now["fees:test"], now["suspense:test"], now.receivable },
        { p.amount - 359, 59, nil, 300 })
    end))

  t.it("empties suspense where money without an order goes back", without_order(
    function(book, raw, _, p, _, booking)
      book { kind = "captured", reference = "ch_one" }
      local payments = raw.require "till.store.payments"
      local now = booking.all_back(payments.get(p.id), "re_one")
      t.same({ now.state, all_accounts(raw) }, { "refunded", {} })
      t.equal(booking.all_back(payments.get(p.id), "re_one").state, "refunded") -- once more
      t.equal(booking.amounts(p.id).refunded, p.amount)
    end))

  t.it("folds what a cancellation lets go of, and a void of the rest", with_order(
    function(book, _, _, p, booking)
      book { kind = "voided", amount = 997, reference = "rel_one" }
      t.same({ booking.amounts(p.id).state, booking.amounts(p.id).left },
        { "authorized", p.amount - 997 })
      t.equal(book({ kind = "voided" }).state, "voided")
      t.equal(book { kind = "voided", reference = "ch_gone" }, false)
    end))
end)
