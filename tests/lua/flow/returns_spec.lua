local t = require "till.test"
local with_shop = require "tests.support.stock"

local ADDED = { name = "Odd", terms = { level = "order", type = "amount", value = 101,
  currency = "GBP" } }


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. (rest or "") end


-- An order of three TEA at 9.99 with an odd discount, and shipping; captured where `paid`.
local function make(shop, raw, paid)
  shop.promotion(ADDED)
  local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
  shop.pay(cart, "test", "tok_ok")
  local order = shop.must(shop.complete(cart)).order
  if paid then shop.work() end
  return order, order.lines[1].id
end


local function send(shop, raw, order, n, status)
  return shop.must(raw.admin("POST", path_of(order, "/fulfilments"), { status = status,
    lines = n and { { line_id = order.lines[1].id, quantity = n } } or nil }, shop.key()))
end


local function give_back(shop, raw, order, n, fields, key)
  local line = { line_id = order.lines[1].id, quantity = n }
  for name, value in pairs(fields or {}) do line[name] = value end
  return raw.admin("POST", path_of(order, "/returns"), { lines = { line }, reason = "too small" },
    key or shop.key())
end


local function cancel(shop, raw, order, n)
  return shop.must(raw.admin("POST", path_of(order, "/cancel"),
    { lines = { { line_id = order.lines[1].id, quantity = n } } }, shop.key()))
end


local function now(shop, raw, order) return shop.must(raw.admin("GET", path_of(order))).order end


local function sums(raw)
  local out = {}
  for _, row in ipairs(raw.sql.query("SELECT account, CAST(SUM(amount) AS SIGNED) AS n"
    .. " FROM ledger_entries GROUP BY account")) do
    if row.n ~= 0 then out[row.account] = row.n end
  end
  return out
end


local function refunded(raw)
  return raw.sql.one("SELECT CAST(COALESCE(SUM(amount), 0) AS SIGNED) AS n"
    .. " FROM payment_test_refunds").n
end


local function types_of(shop, raw, order)
  local out = {}
  for i, e in ipairs(shop.must(raw.admin("GET", path_of(order, "/timeline?limit=100"))).data) do
    out[i] = e.type
  end
  return out
end


local function killed() error("killed", 0) end


local function dies(raw, module, name)
  local m = raw.require(module)
  local was = m[name]
  m[name] = function()
    m[name] = was
    killed()
  end
end


local function resumed(raw)
  raw.clock.skip_ms = raw.clock.skip_ms + 60000
  for _, row in ipairs(raw.require("till.store.sagas").stuck(20)) do
    raw.require("till.flow.cancellation_flow").resume(row)
  end
end


t.describe("goods that come back", function()
  t.it("one by one bring the order to nothing, the shipping with the last",
    with_shop(function(shop, raw)
      local order = make(shop, raw, true)
      send(shop, raw, order)
      t.equal(now(shop, raw, order).status, "completed")
      local amounts, total = {}, 0
      for i = 1, 3 do
        local status, body = give_back(shop, raw, order, 1)
        t.equal(status, 201)
        amounts[i] = body["return"].amount.amount
        total = total + amounts[i]
        t.same({ body.order.return_status, body.order.payment_status, body.order.status },
          { i < 3 and "partial" or "returned", i < 3 and "partially_refunded" or "refunded",
            "completed" })
        t.equal(shop.inventory("TEA").on_hand, 2 + i)
        t.equal(refunded(raw), total)
      end
      t.same({ total, amounts[3] > amounts[1] }, { order.total.amount, true })
      t.same(sums(raw), {})
      local status, problem = give_back(shop, raw, order, 1)
      t.same({ status, problem.code }, { 409, "conflict" })
      t.equal(shop.count("stock_events", "type = 'returned' AND reason = 'too small'"), 3)
      local types = types_of(shop, raw, order)
      t.same({ types[#types - 1], types[#types] }, { "returned", "refunded" })
      t.equal(shop.count("outbox", "type = 'order.returned'"), 3)
      local seen = now(shop, raw, order)
      t.same({ #seen.returns, #seen.cancellations, seen.lines[1].returned_quantity }, { 3, 0, 3 })
      t.ok(seen.returns[1].id:find "^ret_" and seen.returns[1].actor:find "^key_", "who did it")
    end))

  t.it("and units that were cancelled come to what was paid, in any order",
    with_shop(function(shop, raw)
      local order = make(shop, raw, true)
      send(shop, raw, order, 1)
      give_back(shop, raw, order, 1)
      cancel(shop, raw, order, 1)
      t.equal(now(shop, raw, order).status, "placed")
      send(shop, raw, order, 1)
      t.equal(now(shop, raw, order).return_status, "partial")
      local _, body = give_back(shop, raw, order, 1)
      t.same({ body.order.return_status, body.order.payment_status, refunded(raw) },
        { "returned", "refunded", order.total.amount })
      t.same({ sums(raw), shop.inventory("TEA").on_hand }, { {}, 5 })
    end))

  t.it("go into stock only where they are fit for it, and where staff say", with_shop(
    function(shop, raw)
      shop.location("north", 200)
      local order = make(shop, raw, true)
      send(shop, raw, order)
      give_back(shop, raw, order, 1, { restock = false })
      t.equal(shop.inventory("TEA").on_hand, 2)
      t.equal((give_back(shop, raw, order, 1, { location = "moon" })), 404)
      local _, body = give_back(shop, raw, order, 1, { location = "north" })
      t.same({ shop.at("TEA", "main"), shop.at("TEA", "north") }, { { 2, 0 }, { 1, 0 } })
      t.equal(body["return"].lines[1].restocked[1].location, "north")
      t.equal(shop.count("stock_events", "type = 'returned'"), 1)
    end))

  t.it("are units that were handed over, each once, and no more of them", with_shop(
    function(shop, raw)
      local order, line = make(shop, raw, true)
      local before = refunded(raw)
      t.equal((give_back(shop, raw, order, 1)), 409, "nothing was sent")
      local f = send(shop, raw, order, 2, "pending").fulfilment
      t.equal((give_back(shop, raw, order, 1)), 409, "it is packed and still here")
      shop.must(raw.admin("POST", path_of(order, "/fulfilments/" .. f.id .. "/ship"), {},
        shop.key()))
      local status, problem = give_back(shop, raw, order, 3)
      t.same({ status, problem.code, problem.errors[1].pointer }, { 409, "conflict", "/lines/0" })
      local one = { line_id = line, quantity = 1 }
      t.equal((raw.admin("POST", path_of(order, "/returns"), { lines = { one, one } }, shop.key())),
        409)
      t.equal((raw.admin("POST", path_of(order, "/returns"), { lines = {} }, shop.key())), 422)
      t.equal((raw.admin("POST", path_of(order, "/returns"), { lines = { one } })), 400)
      t.same({ refunded(raw), shop.count("cancellations"), shop.inventory("TEA").on_hand },
        { before, 0, 2 })
    end))

  t.it("take the shipping with the last unit, also where that is cancelled", with_shop(
    function(shop, raw)
      local order = make(shop, raw, true)
      send(shop, raw, order, 1)
      t.equal((give_back(shop, raw, order, 1)), 201)
      t.ok(refunded(raw) < order.total.amount)
      cancel(shop, raw, order, 2)
      local seen = now(shop, raw, order)
      t.same({ refunded(raw), seen.payment_status, seen.status },
        { order.total.amount, "refunded", "completed" })
      t.same(sums(raw), {})
    end))

  t.it("are one return of one key, also where its record is gone", with_shop(function(shop, raw)
    local order, key = make(shop, raw, true), shop.key()
    send(shop, raw, order)
    local _, first = give_back(shop, raw, order, 1, nil, key)
    local _, second, headers = give_back(shop, raw, order, 1, nil, key)
    t.same({ second["return"].id, headers["idempotent-replayed"] }, { first["return"].id, "true" })
    raw.sql.exec "DELETE FROM idempotency_records"
    local status, third = give_back(shop, raw, order, 1, nil, key)
    t.same({ status, third["return"].id }, { 201, first["return"].id })
    raw.sql.exec "DELETE FROM idempotency_records"
    local refusal, problem = give_back(shop, raw, order, 2, nil, key)
    t.same({ refusal, problem.code }, { 422, "idempotency_key_reused" })
    t.same({ shop.count("cancellations"), refunded(raw), shop.inventory("TEA").on_hand },
      { 1, first["return"].amount.amount, 3 })
  end))

  t.it("are paid back once, whoever dies on the way", with_shop(function(shop, raw)
    local order = make(shop, raw, true)
    send(shop, raw, order)
    dies(raw, "till.flow.payment", "ask_refund")
    t.equal((give_back(shop, raw, order, 2)), 500)
    t.same({ refunded(raw), shop.inventory("TEA").on_hand }, { 0, 4 })
    resumed(raw)
    local seen = now(shop, raw, order)
    t.same({ refunded(raw), seen.returns[1].state, seen.payment_status },
      { seen.returns[1].amount.amount, "done", "partially_refunded" })
  end))

  t.it("wait for staff where the provider refuses the refund", with_shop(function(shop, raw)
    local order = make(shop, raw, true)
    send(shop, raw, order)
    raw.sql.exec("UPDATE payment_test_attempts SET state = 'voided'")
    local status, body = give_back(shop, raw, order, 3)
    t.same({ status, body["return"].state, body.order.return_status }, { 202, "pending",
      "returned" })
    local saga = shop.must(raw.admin("GET", "/admin/v1/sagas?state=parked")).data[1]
    t.equal(saga.aggregate, body["return"].id)
    shop.must(raw.admin("POST", ("/admin/v1/sagas/%d/resolve"):format(saga.id),
      { as = "done", reason = "bank transfer" }, shop.key()))
    t.same({ sums(raw), now(shop, raw, order).payment_status }, { {}, "refunded" })
    local types = types_of(shop, raw, order)
    t.same({ types[#types - 2], types[#types - 1], types[#types] },
      { "return_parked", "refunded", "return_resolved" })
  end))

  t.it("of an order that is not paid yet are not asked for", with_shop(function(shop, raw)
    local order = make(shop, raw)
    send(shop, raw, order)
    local _, body = give_back(shop, raw, order, 1)
    t.same({ body["return"].money, body.order.payment_status }, { "lowered", "authorized" })
    _, body = give_back(shop, raw, order, 2)
    t.same({ body["return"].money, body.order.payment_status, body.order.status },
      { "void", "voided", "completed" })
    t.same({ sums(raw), refunded(raw) }, { {}, 0 })
  end))

  t.it("leave an order that is sent on to be sent, and unpacked", with_shop(function(shop, raw)
    local order = make(shop, raw, true)
    send(shop, raw, order, 1)
    local _, body = give_back(shop, raw, order, 1)
    t.equal(body.order.return_status, "returned")
    local sent = send(shop, raw, order, 1, "pending")
    t.equal(sent.order.return_status, "partial")
    body = shop.must(raw.admin("POST", path_of(order, "/fulfilments/" .. sent.fulfilment.id
      .. "/cancel"), {}, shop.key()))
    t.same({ body.order.return_status, body.order.fulfilment_status }, { "returned", "partial" })
    t.same(body.order.possible or now(shop, raw, order).possible, { "fulfil", "cancel_lines" })
  end))

  t.it("of a bundle are its parts", with_shop(function(shop, raw)
    local pot, cup = shop.product("POT", 2000, 3), shop.product("CUP", 500, 12)
    local set = shop.product("SET", 3000, 0)
    t.equal((shop.parts(set, { { pot, 1 }, { cup, 4 } })), 200)
    local order = (select(2, shop.buy { { set, 3 } })).order
    send(shop, raw, order)
    t.equal((give_back(shop, raw, order, 2)), 201)
    t.same({ shop.inventory("POT").on_hand, shop.inventory("CUP").on_hand }, { 2, 8 })
  end))
end)
