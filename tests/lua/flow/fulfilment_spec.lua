local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function with_order(provider, fn)
  return function()
    live.with(function(raw)
      local shop = make_shop(raw)
      local cart = shop.cart { { shop.product("TEA", 999, 5), 3 } }
      shop.pay(cart, provider, provider == "test" and "tok_ok" or nil)
      local _, body = shop.complete(cart)
      fn(shop, raw, body.order, body.order.lines[1].id)
    end)
  end
end


local function path_of(order, rest) return "/admin/v1/orders/" .. order.id .. rest end


t.describe("an order in several fulfilments", function()
  t.it("of no line is none, and no line cancels nothing", with_order("manual",
    function(shop, raw, order)
      for _, path in ipairs { "/fulfilments", "/cancel" } do
        local status, body = raw.admin("POST", path_of(order, path),
          { lines = require("till.prim.json").array {} }, shop.key())
        t.same({ status, body.errors and body.errors[1].pointer }, { 422, "/lines" }, path)
      end
      local now = shop.must(raw.admin("GET", path_of(order, ""))).order
      t.same({ now.status, now.fulfilment_status }, { "placed", "unfulfilled" })
    end))

  t.it("is packed, unpacked, tracked and sent", with_order("test",
    function(shop, raw, order, line)
      shop.work()
      local at = path_of(order, "/fulfilments")
      local packed = shop.must(raw.admin("POST", at, { status = "pending",
        lines = { { line_id = line, quantity = 2 } } }, shop.key()))
      t.same({ packed.fulfilment.status, packed.order.fulfilment_status,
        shop.count("outbox", "type = 'order.fulfilled'") }, { "pending", "partial", 0 })
      t.equal((raw.admin("POST", path_of(order, "/cancel"), {}, shop.key())), 409)
      local one = at .. "/" .. packed.fulfilment.id
      local body = shop.must(raw.admin("POST", one .. "/cancel", { reason = "broken" }, shop.key()))
      t.same({ body.order.fulfilment_status, body.order.lines[1].fulfilled_quantity },
        { "unfulfilled", 0 })
      local status, problem = raw.admin("POST", one .. "/ship", {}, shop.key())
      t.same({ status, problem.possible }, { 409, { "fulfil", "cancel", "cancel_lines" } })
      t.equal((raw.admin("PATCH", one, { tracking_number = "X" })), 409)
      packed = shop.must(raw.admin("POST", at, { status = "pending" }, shop.key()))
      t.same({ packed.order.fulfilment_status, packed.order.status }, { "fulfilled", "placed" })
      one = at .. "/" .. packed.fulfilment.id
      body = shop.must(raw.admin("POST", one .. "/ship", { tracking_number = "T1" }, shop.key()))
      t.same({ body.order.status, body.fulfilment.tracking_number }, { "completed", "T1" })
      body = shop.must(raw.admin("PATCH", one, { tracking_number = "T2" }))
      t.same({ body.fulfilment.tracking_number, #body.order.fulfilments }, { "T2", 2 })
      t.equal((raw.admin("POST", one .. "/cancel", {}, shop.key())), 409)
      t.equal((raw.admin("POST", at .. "/ful_" .. ("0"):rep(26) .. "/ship", {}, shop.key())), 404)
      t.equal(shop.count("outbox", "type = 'order.fulfilled'"), 1)
    end))

  t.it("keeps units that are not there yet", with_order("manual", function(shop, raw, order)
    raw.sql.exec("UPDATE order_lines SET backordered_quantity = 2")
    local at = path_of(order, "/fulfilments")
    local body = shop.must(raw.admin("POST", at, {}, shop.key()))
    t.same({ body.order.fulfilment_status, body.order.lines[1].fulfilled_quantity },
      { "partial", 1 })
    local status, problem = raw.admin("POST", at, {}, shop.key())
    t.same({ status, problem.detail }, { 409,
      "what is left is not in stock yet; possible now: cancel_lines, return_lines, capture" })
  end))
end)


t.describe("the timeline of an order", function()
  t.it("is read page by page, with notes and their authors", with_order("manual",
    function(shop, raw, order)
      local at = path_of(order, "")
      for i = 1, 4 do
        shop.must(raw.admin("POST", at .. "/notes", { text = "note " .. i }, shop.key()))
      end
      t.equal((raw.admin("POST", at .. "/notes", { text = "" }, shop.key())), 422)
      local seen, cursor = {}, nil
      repeat
        local page = shop.must(raw.admin("GET", at .. "/timeline?limit=2"
          .. (cursor and "&after=" .. cursor or "")))
        for _, e in ipairs(page.data) do seen[#seen + 1] = e.data.text or e.type end
        cursor = page.next_cursor
      until not cursor
      t.same(seen, { "placed", "note 1", "note 2", "note 3", "note 4" })
    end))
end)
