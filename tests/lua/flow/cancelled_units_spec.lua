local t = require "till.test"
local with_shop = require "tests.support.stock"


local function part(raw, shop, order, n)
  return shop.must(raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/cancel",
    { lines = { { line_id = order.lines[1].id, quantity = n } } }, shop.key()))
end


local function send(raw, shop, order, n)
  return raw.admin("POST", "/admin/v1/orders/" .. order.id .. "/fulfilments",
    { lines = { { line_id = order.lines[1].id, quantity = n } } }, shop.key())
end


t.describe("units of an order that are cancelled in part", function()
  t.it("go back to the locations that they were sold from, never more than they gave",
    with_shop(function(shop, raw)
      shop.location("north", 200)
      local tea = shop.product("TEA", 999, 2)
      shop.put("TEA", "north", 3)
      local order = (select(2, shop.buy { { tea, 5 } })).order
      t.same({ shop.at("TEA", "main")[1], shop.at("TEA", "north")[1] }, { 0, 0 })
      part(raw, shop, order, 2)
      part(raw, shop, order, 2)
      local body = part(raw, shop, order, 1)
      t.same({ shop.at("TEA", "main")[1], shop.at("TEA", "north")[1], body.order.status },
        { 2, 3, "cancelled" })
    end))

  t.it("are those of the last location: what was sent came from the first", with_shop(
    function(shop, raw)
      shop.location("north", 200)
      local tea = shop.product("TEA", 999, 2)
      shop.put("TEA", "north", 1)
      local order = (select(2, shop.buy { { tea, 3 } })).order
      t.equal((send(raw, shop, order, 2)), 201)
      part(raw, shop, order, 1)
      t.same({ shop.at("TEA", "main")[1], shop.at("TEA", "north")[1] }, { 0, 1 })
    end))

  t.it("are those that are not there yet, before any that are", with_shop(function(shop, raw)
    local tea = shop.product("TEA", 999, 2)
    shop.policy("TEA", { policy = "backorder", limit = 5 })
    local order = (select(2, shop.buy { { tea, 4 } })).order
    local status, problem = send(raw, shop, order, 3)
    t.same({ status, problem.code }, { 409, "conflict" })
    t.ok(problem.detail:find("only 2 of this line can be sent, 2 more are not in stock yet", 1,
      true), problem.detail)
    t.equal((send(raw, shop, order, 1)), 201)
    local body = part(raw, shop, order, 1)
    t.same({ body.order.lines[1].backordered_quantity, shop.promised("TEA"),
      shop.inventory("TEA").on_hand }, { 1, 1, 0 })
    body = part(raw, shop, order, 2)
    t.same({ body.order.lines[1].backordered_quantity, shop.promised("TEA"),
      shop.inventory("TEA").on_hand, body.order.fulfilment_status }, { 0, 0, 1, "fulfilled" })
  end))

  t.it("of a bundle are its parts", with_shop(function(shop, raw)
    local pot, cup = shop.product("POT", 2000, 3), shop.product("CUP", 500, 12)
    local set = shop.product("SET", 3000, 0)
    t.equal((shop.parts(set, { { pot, 1 }, { cup, 4 } })), 200)
    local order = (select(2, shop.buy { { set, 3 } })).order
    part(raw, shop, order, 1)
    t.same({ shop.inventory("POT").on_hand, shop.inventory("CUP").on_hand }, { 1, 4 })
    t.equal((send(raw, shop, order, 2)), 201)
    t.equal((shop.cancel(order.id)), 409)
  end))
end)
