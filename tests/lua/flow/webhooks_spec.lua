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
      function s.run() return raw.require("till.flow.webhook_run").run() end
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

  t.it("are read, held and written together", with_orders(5, function(s)
    local booking_batch = s.raw.require "till.flow.booking_batch"
    local was, sizes = booking_batch.read, {}
    booking_batch.read = function(tx, ids)
      sizes[#sizes + 1] = #ids
      return was(tx, ids)
    end
    for i = 1, 5 do s.tell(i) end
    s.run()
    booking_batch.read = was
    t.same(s.states(), all(5, "applied"))
    t.same(sizes, { 1, 4 }) -- the first has nobody to wait for
  end))

  t.it("post a fee once, whoever else posts it meanwhile", with_orders(3, function(s)
    s.shop.work()
    local p, answer = s.payments[1], s.answers[1]
    s.answers[1] = function()
      s.raw.sql.transaction(function(tx)
        return s.raw.require("till.flow.booking").book(tx, p.id, { kind = "captured",
          reference = "ch_1", amount = p.amount, fee = 44 })
      end)
      return answer
    end
    s.answers[3] = s.answers[2] -- two subjects of one payment, in one flight
    for i = 1, 3 do s.tell(i) end
    s.run()
    t.same(s.states(), all(3, "applied"))
    t.equal(s.shop.count("ledger_entries", "account = 'fees:test' AND amount = 44"), 2)
  end))

  t.it("see what was booked since they were asked about", with_orders(3, function(s)
    local answers = { s.answers[1], s.answers[2], s.answers[3] }
    s.answers[2] = function()
      local p = s.payments[2]
      t.ok(s.raw.sql.transaction(function(tx)
        return s.raw.require("till.flow.booking").book(tx, p.id, { kind = "captured",
          reference = "ch_2", amount = p.amount })
      end))
      return answers[2]
    end
    s.answers[3] = function()
      s.raw.sql.exec("UPDATE orders SET payment_status = 'refunded', version = version + 1"
        .. " WHERE id = (SELECT order_id FROM payments WHERE id = ?)",
        s.raw.require("till.store.db").bin("pay", s.payments[3].id))
      return answers[3]
    end
    for i = 1, 3 do s.tell(i) end
    s.run()
    t.same(s.states(), all(3, "applied"))
    t.equal(s.shop.count("payment_events", "kind = 'captured'"), 3)
    t.equal(s.shop.count("ledger_entries", "account = 'cash:test' AND amount > 0"), 3)
    t.equal(s.shop.count("orders", "payment_status = 'refunded'"), 1, "as it was meanwhile")
    t.equal(#s.raw.require("till.store.ledger").unbalanced(), 0)
  end))

  -- Of an order that has gone on its parcels are asked for: all of them may complete it.
  t.it("complete an order of which all was sent, and none that waits", with_orders(3, function(s)
    for i = 1, 2 do
      local order = s.shop.must(s.raw.admin("GET", "/admin/v1/orders/"
        .. s.raw.require("till.store.payments").get(s.payments[i].id).order_id)).order
      s.shop.must(s.raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/fulfilments",
        { status = i == 2 and "pending" or nil }, s.shop.key()))
    end
    for i = 1, 3 do s.tell(i) end
    s.run()
    t.same(s.states(), all(3, "applied"))
    local now = {}
    for i, p in ipairs(s.payments) do
      local order_id = s.raw.require("till.store.payments").get(p.id).order_id
      local order = s.raw.require("till.store.orders").get(order_id)
      now[i] = order.status .. " " .. order.payment_status
    end
    t.same(now, { "completed captured", "placed captured", "placed captured" })
  end))

  t.it("are not held up by one that throws as it is written", with_orders(4, function(s)
    local was, thrown = s.store.settle_all, 0
    s.store.settle_all = function(tx, claim, list)
      for _, one in ipairs(list) do
        if one.payment_id == s.payments[3].id then
          thrown = thrown + 1
          error "no such row can be"
        end
      end
      return was(tx, claim, list)
    end
    for i = 1, 4 do s.tell(i) end
    local good, e = pcall(s.run)
    s.store.settle_all = was
    t.ok(good, e)
    t.ok(thrown > 1)
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


t.describe("what a provider tells and does not fit", function()
  t.it("holds up nothing else, and staff hear of it", with_orders(1, function(s)
    local events = s.answers[1].events
    events[2] = { kind = "disputed", amount = 5000, reference = "dp_1", reason = "fraudulent" }
    events[3] = { kind = "refunded", amount = 50, reference = "re_1" }
    s.tell(1)
    s.run()
    t.same(s.states(), { "parked" })
    local row = s.raw.sql.one "SELECT reason FROM webhook_events"
    t.equal(row.reason, "disputed does not fit what is booked: too_much")
    t.equal(s.shop.count("alerts", "kind = 'webhook.parked' AND state = 'open'"), 1)
    t.equal(s.shop.count("alerts", "kind = 'payment.disputed'"), 0)
    t.same(s.raw.sql.query "SELECT state, refunded_amount, disputed_amount FROM payments",
      { { state = "captured", refunded_amount = 50, disputed_amount = 0 } })
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

  -- The first of 230 is at work until all the others are done, and its subject comes again.
  t.it("is followed by more meanwhile, but not of one subject", with_orders(0, function(s)
    local apply = s.raw.require "till.flow.webhook_apply"
    local run, done, is_busy, is_alone, all_done = apply.run, 0, false, true, nil
    local others = s.raw.require("till.prim.co").waiter()
    apply.run = function(group)
      if group.subject ~= "1" then
        done = done + 1
        if done == 228 then others:signal(true) end
        return true
      end
      is_alone, is_busy = is_alone and not is_busy, true
      all_done = all_done or others:wait(10000, true)
      is_busy = false
      return true
    end
    for i = 1, 230 do s.tell(i == 201 and 1 or i) end
    local good, n = pcall(s.run)
    apply.run = run
    t.equal(good and n, 230)
    t.equal(all_done, true, "nobody waits for the first")
    t.equal(is_alone, true)
  end))

  t.it("is due at once where it could not be put off", with_orders(2,
    function(s)
      local put_off, left = s.store.put_off, 1
      s.store.put_off = function(...)
        left = left - 1
        if left < 0 then return put_off(...) end
        return nil, s.raw.require("till.util.err").new("conn_lost", "the database has gone")
      end
      local answer = s.answers[1]
      s.answers[1] = function() error "not now" end
      for i = 1, 2 do s.tell(i) end
      s.run()
      t.same(s.states(), { "received", "applied" })
      s.answers[1] = answer
      s.run()
      s.store.put_off = put_off
      t.same(s.states(), { "applied", "applied" })
    end))

  t.it("and never read is due at once, and untried", with_orders(2, function(s)
    local sql = s.raw.require "till.prim.sql"
    local query = sql.query
    sql.query = function(text, ...)
      if text:find "is_dropped FROM webhook_events" then
        return nil, s.raw.require("till.util.err").new("conn_lost", "the database has gone")
      end
      return query(text, ...)
    end
    for i = 1, 2 do s.tell(i) end
    local n = s.run()
    sql.query = query
    t.equal(n, nil)
    t.equal(s.shop.count("webhook_events", "tries = 1 AND claim > 0"), 2)
    s.run()
    t.same(s.states(), all(2, "applied"))
    t.equal(s.shop.count("webhook_events", "tries = 1"), 2)
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
