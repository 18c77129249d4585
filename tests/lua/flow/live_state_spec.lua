-- See till/flow/live_state.
local t = require "till.test"
local json = require "till.prim.json"
local live = require "till.prim.live"
local live_state = require "till.flow.live_state"

local A, B = "var_01J9ZC8Q4V3M5N7P8R9S0T1V2W", "var_01J9ZC8Q4V3M5N7P8R9S0T1V2X"


local function cart(change)
  local out = { id = "cart_01J9ZC8Q4V3M5N7P8R9S0T1V2W", version = 3, state = "open",
    currency = "GBP", country = "GB", key_id = "key_x", email = "ada@example.com", codes = {},
    lines = { { id = "l1", variant_id = A, quantity = 2 },
      { id = "l2", variant_id = B, quantity = 1 } },
    priced = { total = 300, subtotal = 300, promotions = {}, lines = {
      { id = "l1", variant_id = A, sku = "a", title = "A", quantity = 2 },
      { id = "l2", variant_id = B, sku = "b", title = "B", quantity = 1 } } } }
  if change then change(out) end
  return out
end


local PLENTY = { [A] = 9, [B] = 9 }


local function names(sum)
  local out = {}
  for name, bit in pairs(live.changes) do
    if math.floor(sum / bit) % 2 == 1 then out[#out + 1] = name end
  end
  table.sort(out)
  return out
end


local function changed(change, free)
  local before = live_state.of_cart(cart(), PLENTY).tag
  return names(live_state.changes(before, live_state.of_cart(cart(change), free or PLENTY).tag))
end


local CASES = {
  { "nothing", function() end, {} },
  { "its version alone", function(c) c.version = 4 end, {} },
  { "a quantity", function(c) c.lines[1].quantity = 3 end, { "lines" } },
  { "a code", function(c) c.codes[1] = "X" end, { "promotions" } },
  { "an address", function(c) c.shipping_address = { city = "Bath" } end, { "details" } },
  { "no e-mail any more", function(c) c.email = nil end, { "details" } },
  { "a total", function(c) c.priced.total = 301 end, { "totals" } },
  { "its state", function(c) c.state = "completed" end, { "state" } },
}

for _, case in ipairs(CASES) do
  t.it("says what has changed: " .. case[1], function() t.same(changed(case[2]), case[3]) end)
end


t.it("says what ran short, also of carts with many lines", function()
  t.same(changed(nil, { [A] = 1, [B] = 9 }), { "availability" })
  local function many(c)
    for i = 3, 20 do c.lines[i] = { id = "l" .. i, variant_id = B, quantity = 1 } end
  end
  local one = live_state.of_cart(cart(many), PLENTY).tag
  local two = live_state.of_cart(cart(many), { [A] = 9 }).tag
  t.same(names(live_state.changes(one, two)), { "availability" })
end)


t.it("takes what is not known for changed", function()
  t.same(#names(live_state.changes("", live_state.of_cart(cart(), PLENTY).tag)), 6)
end)


t.it("counts what is reserved for the cart as its own", function()
  local function of(free, held)
    local out = {}
    for i, line in ipairs(json.decode(live_state.of_cart(cart(), free, held).json).cart.lines) do
      out[i] = line.availability
    end
    return out
  end
  t.same(of({ [A] = 2, [B] = 0 }), { "in_stock", "out_of_stock" })
  t.same(of({ [A] = 1 }), { "short", "out_of_stock" })
  t.same(of({ [A] = 1, [B] = -3 }, { [A] = 1, [B] = 4 }), { "in_stock", "in_stock" })
end)
