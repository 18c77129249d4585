-- support/stock - a shop for specs of stock: support.shop with locations, policies and bundles.
--
--   local with_shop = require "tests.support.stock"
--   t.it("…", with_shop(function(shop, raw) … end))     afterwards the tables of stock must agree
--   shop.location(code, priority [, enabled]), shop.put(sku, code, quantity), shop.at(sku, code)
--   shop.policy(sku, body), shop.promised(sku), shop.parts(variant, { { variant, quantity }, … })
--   shop.buy(lines), shop.order(id), shop.cancel(id)
local t = require "till.test"
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"


local function add_rules(shop, raw)
  function shop.location(code, priority, enabled)
    raw.sql.exec("INSERT INTO locations (id, code, name, priority, enabled)"
      .. " VALUES (UNHEX(MD5(?)), ?, ?, ?, ?)", code, code, code, priority, enabled or 1)
  end
  function shop.put(sku, code, quantity)
    return shop.must(raw.admin("POST", "/admin/v1/inventory/" .. sku .. "/adjustments",
      { set_to = quantity, reason = "counted", location = code }, shop.key()))
  end
  function shop.policy(sku, body)
    return raw.admin("PUT", "/admin/v1/inventory/" .. sku .. "/backorders", body)
  end
  function shop.promised(sku)
    return shop.must(raw.admin("GET", "/admin/v1/inventory/" .. sku .. "/backorders"))
      .backorders.promised
  end
  function shop.parts(variant_id, parts)
    local list = {}
    for i, part in ipairs(parts) do
      list[i] = { variant_id = part[1], quantity = part[2] }
    end
    return raw.admin("PUT", "/admin/v1/variants/" .. variant_id .. "/parts",
      { parts = require("till.prim.json").array(list) })
  end
  function shop.at(sku, code)
    for _, l in ipairs(shop.inventory(sku).locations) do
      if l.location == code then return { l.on_hand, l.reserved } end
    end
  end
  function shop.buy(lines)
    local cart = shop.cart(lines)
    local status, body = shop.pay(cart)
    if status ~= 201 then return status, body end
    return shop.complete(cart)
  end
  function shop.order(order_id)
    return shop.must(raw.admin("GET", "/admin/v1/orders/" .. order_id)).order
  end
  function shop.cancel(order_id)
    return raw.admin("POST", "/admin/v1/orders/" .. order_id .. "/cancel", {}, shop.key())
  end
end


-- What must hold after each of them, whatever it did.
local BROKEN = {
  ["a location is not the sum of its events"] = [[SELECT 1 FROM stock s LEFT JOIN stock_events e
    USING (variant_id, location_id) GROUP BY s.variant_id, s.location_id HAVING MAX(s.on_hand) <>
    COALESCE(SUM(e.on_hand_delta), 0) OR MAX(s.reserved) <> COALESCE(SUM(e.reserved_delta), 0)]],
  ["what is reserved is not what carts hold"] = [[SELECT 1 FROM stock s LEFT JOIN reservations r
    ON r.variant_id = s.variant_id AND r.location_id = s.location_id AND r.state = 'held'
    GROUP BY s.variant_id, s.location_id HAVING MAX(s.reserved) <> COALESCE(SUM(r.quantity), 0)]],
  ["what is promised is not the sum of its events"] = [[SELECT 1 FROM backorders b
    LEFT JOIN stock_events e ON e.variant_id = b.variant_id AND e.location_id IS NULL
    GROUP BY b.variant_id HAVING MAX(b.promised) <> COALESCE(SUM(e.reserved_delta), 0)]],
  ["what is promised is not what waits"] = [[SELECT 1 FROM backorders b LEFT JOIN reservations r
    ON r.variant_id = b.variant_id AND r.location_id IS NULL AND r.state IN ('held', 'backordered')
    GROUP BY b.variant_id HAVING MAX(b.promised) <> COALESCE(SUM(r.quantity), 0)]],
}


return function(fn)
  return function()
    live.with(function(raw)
      raw.sql.exec "DELETE FROM locations WHERE code <> 'main'"
      local shop = make_shop(raw)
      add_rules(shop, raw)
      local good, why = pcall(fn, shop, raw)
      local wrong = {}
      for what, broken in pairs(BROKEN) do
        if good and #raw.sql.query(broken) ~= 0 then wrong[#wrong + 1] = what end
      end
      raw.sql.exec "DELETE FROM stock"
      raw.sql.exec "DELETE FROM locations WHERE code <> 'main'"
      if not good then error(why, 0) end
      t.same(wrong, {})
    end)
  end
end
