-- The inbox of webhooks: many subjects at once, and what becomes of them where one does not fit.
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local PLUGIN = "payment-test"


-- fn(s): `n` orders of 9.99 that are authorized, each of it told to be captured by its provider:
-- s.payments, s.answers[i] what the provider says of it, s.tell(i) puts an event into the inbox
local function with_orders(n, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local dispatch, store = raw.require "till.plugin.dispatch", raw.require "till.store.webhooks"
      local s = { raw = raw, shop = shop, store = store, payments = {}, answers = {}, told = 0 }
      local variant = shop.product("TEA", 999, 100)
      for i = 1, n do
        local cart = shop.cart { { variant, 1 } }
        shop.pay(cart, "test", "tok_ok")
        shop.must(shop.complete(cart))
        local p = raw.require("till.store.payments").of_cart(cart)[1]
        s.payments[i] = p
        s.answers[i] = { payment_id = p.id, cart_id = p.cart_id, provider_ref = p.provider_ref,
          currency = p.currency, amount = p.amount, state = "captured", failed = {}, events = {
            { kind = "captured", sum = p.amount, reference = "ch_" .. i, fee = 44 } } }
      end
      local was = dispatch.plugin
      dispatch.plugin = function(name, hook, about)
        if hook ~= "webhook.apply" then return was(name, hook, about) end
        local answer = s.answers[tonumber(about.subject)]
        if type(answer) == "function" then return answer() end
        return raw.require("till.util.copy").deep(answer)
      end
      function s.tell(i, id)
        s.told = s.told + 1
        return store.receive(PLUGIN, { id = id or "evt_" .. s.told, type = "charge.captured",
          subject = tostring(i), at_ms = 1000, body = "{}" })
      end
      function s.run() return raw.require("till.flow.webhooks").run() end
      function s.states()
        local out = {}
        for _, row in ipairs(raw.sql.query "SELECT subject, state FROM webhook_events") do
          out[tonumber(row.subject)] = row.state
        end
        return out
      end
      local good, e = pcall(fn, s)
      dispatch.plugin = was
      if not good then error(e, 0) end
    end)
  end
end


-- What the books say of a payment, but for ids and times.
local function books_of(s, i)
  local p = s.payments[i]
  local db = s.raw.require "till.store.db"
  local function rows(text) return s.raw.sql.query(text, db.bin("pay", p.id)) end
  local of_order = "(SELECT order_id FROM payments WHERE id = ?)"
  return {
    events = rows("SELECT seq, kind, amount, actor, fee FROM payment_events WHERE payment_id = ?"
      .. " ORDER BY seq"),
    payment = rows "SELECT state, capture_amount, refunded_amount FROM payments WHERE id = ?",
    order = rows("SELECT payment_status, version FROM orders WHERE id = " .. of_order),
    ledger = rows("SELECT account, CAST(SUM(amount) AS SIGNED) AS amount FROM ledger_entries"
      .. " WHERE order_id = " .. of_order .. " GROUP BY account ORDER BY account"),
    told = rows("SELECT type, actor FROM order_events WHERE order_id = " .. of_order
      .. " ORDER BY id"),
    published = s.raw.sql.query("SELECT type FROM outbox WHERE aggregate = ? ORDER BY id",
      "order:" .. s.raw.require("till.store.payments").get(p.id).order_id) }
end


local function all(n, what)
  local out = {}
  for i = 1, n do out[i] = what end
  return out
end


t.describe("webhooks of many payments", function()
  t.it("are booked together as each would be alone", with_orders(4, function(s)
    local plain = s.raw.require "till.flow.webhook_plain"
    local was, done = plain.book, 0
    plain.book = function(...)
      local is_done, e = was(...)
      done = done + (is_done and 1 or 0)
      return is_done, e
    end
    for i = 1, 3 do s.tell(i) end
    t.equal(s.run(), 3)
    t.equal(done, 3)
    plain.book = function() return false end
    s.tell(4)
    s.run()
    plain.book = was
    t.same(s.states(), all(4, "applied"))
    local alone = books_of(s, 4)
    t.equal(alone.order[1].payment_status, "captured")
    for i = 1, 3 do t.same(books_of(s, i), alone) end
    for i = 1, 4 do s.tell(i) end
    s.run()
    for i = 1, 4 do t.same(books_of(s, i), alone, "once") end
  end))

  t.it("name what the shop captured itself, and post its fee once", with_orders(3, function(s)
    s.shop.work()
    for _ = 1, 2 do
      for i = 1, 3 do s.tell(i) end
      s.run()
      t.same(s.states(), all(3, "applied"))
    end
    t.equal(s.shop.count("payment_events", "kind = 'captured' AND reference LIKE 'ch_%'"
      .. " AND fee = 44"), 3)
    t.equal(s.shop.count("payment_events", "kind = 'captured'"), 3)
    t.equal(s.shop.count("ledger_entries", "account = 'fees:test' AND amount = 44"), 3)
    t.equal(#s.raw.require("till.store.ledger").unbalanced(), 0)
  end))

  t.it("post a fee once, whoever else posts it meanwhile", with_orders(3, function(s)
    s.shop.work()
    local booking_batch = s.raw.require "till.flow.booking_batch"
    local was = booking_batch.read
    booking_batch.read = function(p)
      local seen, e = was(p)
      if p.id == s.payments[1].id then
        s.raw.sql.transaction(function(tx)
          return s.raw.require("till.flow.booking").book(tx, p.id, { kind = "captured",
            reference = "ch_1", amount = p.amount, fee = 44 })
        end)
      end
      return seen, e
    end
    s.answers[3] = s.answers[2] -- two subjects of one payment, in one flight
    for i = 1, 3 do s.tell(i) end
    s.run()
    booking_batch.read = was
    t.same(s.states(), all(3, "applied"))
    t.equal(s.shop.count("ledger_entries", "account = 'fees:test' AND amount = 44"), 2)
  end))

  t.it("see what was booked while they were thought about", with_orders(3, function(s)
    local booking_batch = s.raw.require "till.flow.booking_batch"
    local was = booking_batch.read
    booking_batch.read = function(p)
      local seen, e = was(p)
      if p.id == s.payments[2].id then
        t.ok(s.raw.sql.transaction(function(tx)
          return s.raw.require("till.flow.booking").book(tx, p.id, { kind = "captured",
            reference = "ch_2", amount = p.amount })
        end))
      elseif p.id == s.payments[3].id then
        s.raw.sql.exec("UPDATE orders SET payment_status = 'voided', version = version + 1"
          .. " WHERE id = (SELECT order_id FROM payments WHERE id = ?)",
          s.raw.require("till.store.db").bin("pay", p.id))
      end
      return seen, e
    end
    for i = 1, 3 do s.tell(i) end
    s.run()
    booking_batch.read = was
    t.same(s.states(), all(3, "applied"))
    t.equal(s.shop.count("payment_events", "kind = 'captured'"), 3)
    t.equal(s.shop.count("ledger_entries", "account = 'cash:test' AND amount > 0"), 3)
    t.equal(s.shop.count("orders", "payment_status = 'voided'"), 1, "as it was meanwhile")
    t.equal(#s.raw.require("till.store.ledger").unbalanced(), 0)
  end))

  t.it("are not held up by one that throws as it is written", with_orders(4, function(s)
    local booking_batch = s.raw.require "till.flow.booking_batch"
    local was, thrown = booking_batch.lock, 0
    booking_batch.lock = function(tx, list)
      for _, seen in ipairs(list) do
        if seen.payment.id == s.payments[3].id then
          thrown = thrown + 1
          error "no such row can be"
        end
      end
      return was(tx, list)
    end
    for i = 1, 4 do s.tell(i) end
    local good, e = pcall(s.run)
    booking_batch.lock = was
    t.ok(good, e)
    t.ok(thrown > 0)
    t.same(s.states(), all(4, "applied"), "that one the careful way")
    t.equal(s.shop.count("payment_events", "kind = 'captured'"), 4)
  end))

  t.it("are not held up by one that fails, while it is asked for or written", with_orders(4,
    function(s)
      s.answers[2] = function() error "the plugin broke" end
      s.answers[3].events[1].reference = ("x"):rep(300) -- no column takes it
      for i = 1, 4 do s.tell(i) end
      s.run()
      t.same(s.states(), { "applied", "received", "received", "applied" })
      t.equal(s.shop.count("webhook_events", "tries = 1 AND claim = 0 AND reason IS NOT NULL"
        .. " AND state = 'received'"), 2)
      t.equal(s.shop.count("payments", "state = 'captured'"), 2)
    end))
end)


t.describe("what was claimed", function()
  t.it("and not begun goes back untried", with_orders(0, function(s)
    local time, apply = s.raw.require "till.prim.time", s.raw.require "till.flow.webhook_apply"
    local mono_ms, run, later, ran = time.mono_ms, apply.run, 0, 0
    time.mono_ms = function() return mono_ms() + later end
    apply.run = function()
      ran, later = ran + 1, 70000
      return nil, s.raw.require("till.util.err").new("unavailable", "not now")
    end
    for i = 1, 40 do s.tell(i) end
    local good, e = pcall(s.run)
    time.mono_ms, apply.run = mono_ms, run
    t.ok(good, e)
    t.equal(ran, 1)
    t.equal(s.shop.count("webhook_events", "tries = 0 AND claim = 0 AND next_at <= NOW(3)"), 39)
    t.equal(s.shop.count("webhook_events", "tries = 1"), 1)
  end))

  t.it("by a worker that ended is applied one by one", with_orders(3, function(s)
    for i = 1, 3 do s.tell(i) end
    s.raw.sql.exec "UPDATE webhook_events SET claim = 7, tries = 1"
    for n = 1, 3 do
      t.equal(s.run(), 4 - n)
      t.equal(s.shop.count("webhook_events", "state = 'applied' AND tries = 2"), n)
      t.equal(s.shop.count("webhook_events", "state = 'received' AND tries = 1 AND claim > 0"),
        3 - n)
    end
  end))

  t.it("by workers that ended each time has failed, and the others are applied before",
    with_orders(2, function(s)
      s.tell(1)
      s.raw.sql.exec "UPDATE webhook_events SET claim = 7, tries = 16"
      s.tell(2)
      s.run()
      t.same(s.states(), { "failed", "applied" })
      t.equal(s.shop.count("alerts", "kind = 'webhook.failed' AND state = 'open'"), 1)
    end))
end)


t.describe("what comes in at the same time", function()
  t.it("is written together, and each is told whether it is new", with_orders(0, function(s)
    local co = s.raw.require "till.prim.co"
    t.equal(s.tell(1, "evt_old"), true)
    local ids = { "evt_first", "evt_old", "evt_a", "evt_b", "evt_a" }
    local left, waiter, new = #ids, co.waiter(), {}
    for i, id in ipairs(ids) do
      co.turn_end(function()
        new[i] = s.tell(1, id)
        left = left - 1
        if left == 0 then waiter:signal(true) end
      end)
    end
    waiter:wait(10000, true)
    t.same(new, { true, false, true, true, false })
    t.equal(s.shop.count("webhook_events"), 4)
  end))
end)


-- A provider with an event at each of `times`, in pages of 100, newest first.
local function provider_of(times)
  return function(wish)
    local out, after = {}, nil
    local from = wish.after and tonumber(wish.after) - 1 or #times
    for i = from, 1, -1 do
      if times[i] >= wish.since_ms and (not wish.until_ms or times[i] <= wish.until_ms) then
        if #out == 100 then break end
        out[#out + 1] = { id = "evt_" .. i, type = "x", subject = "x", at_ms = times[i],
          body = "{}", is_ignored = true }
        after = tostring(i)
      end
    end
    return { events = out, after = #out == 100 and after or nil }
  end
end


t.describe("a poll", function()
  t.it("reads all of an hour that has more events than are read at a time", with_orders(0,
    function(s)
      local dispatch = s.raw.require "till.plugin.dispatch"
      local names, was = dispatch.names, dispatch.plugin
      local now_ms = s.raw.require("till.prim.time").now_ms()
      local times = {}
      for i = 1, 2500 do times[i] = now_ms - 1800000 + 10 * i end
      local ask = provider_of(times)
      dispatch.names = function() return { PLUGIN } end
      dispatch.plugin = function(_, _, wish) return ask(wish) end
      local time = s.raw.require "till.prim.time"
      local mono_ms, at_ms = time.mono_ms, time.mono_ms()
      time.mono_ms = function() return at_ms end -- a slow machine reads on at the next poll
      local good, e = pcall(function()
        local done, why = s.raw.require("till.flow.webhook_poll").run()
        t.ok(done, tostring(why))
      end)
      dispatch.names, dispatch.plugin, time.mono_ms = names, was, mono_ms
      t.ok(good, e)
      t.equal(s.shop.count("webhook_events", "via = 'poll'"), 2500)
      t.ok(s.store.seen_ms(PLUGIN) >= now_ms - 1000, "up to now")
    end))

  t.it("reads what it has left out while its clock was ahead", with_orders(0, function(s)
    local dispatch, time = s.raw.require "till.plugin.dispatch", s.raw.require "till.prim.time"
    local names, was, real = dispatch.names, dispatch.plugin, time.now_ms
    local start_ms, off = real(), 0
    time.now_ms = function() return real() + off end
    dispatch.names = function() return { PLUGIN } end
    local function poll(ahead_ms, times)
      local ask = provider_of(times)
      off, dispatch.plugin = ahead_ms, function(_, _, wish) return ask(wish) end
      return assert(s.raw.require("till.flow.webhook_poll").run())
    end
    local good, e = pcall(function()
      poll(3600000, { start_ms })
      poll(0, { start_ms })
      poll(1200000, { start_ms, start_ms + 600000 })
    end)
    time.now_ms, dispatch.names, dispatch.plugin = real, names, was
    t.ok(good, e)
    t.equal(s.shop.count("webhook_events", "via = 'poll'"), 2)
  end))
end)
