-- price.lua - what a warm call of price.calculate takes, by kind of cart:
--
--   luajit tests/bench/price.lua [calls]
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path

local price = require "till.rule.price"

local RATES = {
  standard = { { code = "VAT", rate = "20" } },
  reduced = { { code = "VAT", rate = "7" } },
  double = { { code = "GST", rate = "5" }, { code = "QST", rate = "9.975" } },
}


local function new_cart(count, promotions, changes)
  local lines = {}
  for i = 1, count do
    lines[i] = {
      id = "L" .. i, sku = "SKU" .. i % 37 .. "-" .. i, qty = 1 + i % 4, unit_price = 499 + i * 250,
      tax_class = i % 3 == 0 and "reduced" or "standard", tags = { "t" .. i % 3 },
    }
  end
  local cart = {
    currency = "EUR", exponent = 2, prices_include_tax = true, tax_rates = RATES,
    rounding = { tax_level = "line", mode = "half_up" }, lines = lines, promotions = promotions,
    shipping = { amount = 499, tax_class = "standard" }, date = "2026-06-01T00:00:00Z",
  }
  for key, value in pairs(changes or {}) do cart[key] = value end
  return cart
end


local SALE = { id = "SALE", level = "line", type = "percent", value = "15",
  filter = { tags = { "t1" } } }
local VOUCHER = { id = "V", level = "order", type = "percent", value = "10", code = "TEN",
  conditions = { min_subtotal = 2000 } }
local BUNDLE = { id = "N", level = "line", type = "n_for_m", n = 3, m = 2 }
local GIFT = { id = "B", level = "line", type = "buy_x_get_y", buy = { qty = 2 },
  get = { qty = 1, percent = "50" } }


local function exclusive(count)
  local out = {}
  for i = 1, count do
    out[i] = { id = "X" .. i, level = "order", type = "percent", value = tostring(5 + i),
      exclusive = true }
  end
  return out
end


local CODES = { codes = { "ten" } }

local CARTS = {
  { "1 line, no promotion", new_cart(1, {}) },
  { "5 lines, no promotion", new_cart(5, {}) },
  { "5 lines, 2 promotions", new_cart(5, { SALE, VOUCHER }, CODES) },
  { "5 lines, 2 promotions, exclusive of tax, two taxes", new_cart(5, { SALE, VOUCHER },
    { codes = { "ten" }, prices_include_tax = false, tax_rates = { standard = RATES.double } }) },
  { "5 lines, 2 promotions, tax per order", new_cart(5, { SALE, VOUCHER },
    { codes = { "ten" }, rounding = { tax_level = "order" } }) },
  { "5 lines, 2 multibuys and 2 promotions", new_cart(5, { BUNDLE, GIFT, SALE, VOUCHER }, CODES) },
  { "5 lines, 8 exclusive promotions", new_cart(5, exclusive(8)) },
  { "50 lines, 2 promotions", new_cart(50, { SALE, VOUCHER }, CODES) },
}


local function measure(given, calls)
  for _ = 1, calls / 4 do price.calculate(given) end
  collectgarbage()
  local start = os.clock()
  for _ = 1, calls do price.calculate(given) end
  return (os.clock() - start) / calls * 1e6
end


local calls = tonumber(arg[1]) or 5000
for _, cart in ipairs(CARTS) do
  assert(price.calculate(cart[2]).status == "ok")
  print(string.format("%8.1f us  %s", measure(cart[2], calls), cart[1]))
end
