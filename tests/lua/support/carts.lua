-- carts.lua - random carts with everything that the rules of price know.
--
--   carts.new(random) -> given, as price.calculate takes it
local carts = {}

local RATES = {
  standard = { { code = "VAT", rate = "20" } },
  reduced = { { code = "VAT", rate = "7" } },
  double = { { code = "GST", rate = "5" }, { code = "QST", rate = "9.975", compound = true } },
  mixed = { { code = "VAT", rate = "20" }, { code = "ECO", rate = "0.333" } },
}

local CLASSES = { "standard", "reduced", "double", "mixed", "exempt" }
local SKUS = { "A", "B", "C", "D" }
local TAGS = { "x", "y", "z" }
local PRICES = { 0, 1, 33, 99, 100, 250, 250, 999, 1000, 1999, 12345, 879300, 4000000001 }
local PERCENTS = { "0", "5", "10", "12.5", "33.333", "50", "99.9", "100" }
local AMOUNTS = { 0, 1, 50, 100, 500, 999, 5000, 100000 }


local function filter(random)
  if random.chance(2) then return nil end
  local out = {}
  if random.chance(2) then out.skus = { random.pick(SKUS), random.pick(SKUS) } end
  if random.chance(3) then out.tags = { random.pick(TAGS) } end
  if random.chance(5) then out.exclude_skus = { random.pick(SKUS) } end
  if random.chance(5) then out.exclude_tags = { random.pick(TAGS) } end
  if random.chance(5) then out.exclude_on_sale = true end
  return out
end


local function gift(random)
  local get = { filter = filter(random), qty = 1 + random.below(2) }
  local kind = random.below(3)
  if kind == 0 then get.percent = random.pick(PERCENTS) end
  if kind == 1 then get.amount = random.pick(AMOUNTS) end
  if kind == 2 then get.fixed_price = random.pick(AMOUNTS) end
  return get
end


local function percent(random)
  return { value = random.pick(PERCENTS), basis = random.chance(4) and "original" or nil }
end


local function amount(random)
  return { value = random.pick(AMOUNTS) }
end


local MAKERS = {
  { "line", "percent", percent }, { "line", "percent", percent },
  { "line", "amount_per_unit", amount }, { "line", "fixed_price", amount },
  { "line", "buy_x_get_y", function(random)
    return {
      buy = { filter = filter(random), qty = 1 + random.below(3) }, get = gift(random),
      selection = random.chance(4) and "most_expensive" or nil,
    }
  end },
  { "line", "n_for_m", function(random)
    local m = 1 + random.below(3)
    return { n = m + 1 + random.below(2), m = m }
  end },
  { "line", "bundle_price", function(random)
    return { price = random.pick(AMOUNTS), components = {
      { filter = filter(random), qty = 1 + random.below(2) },
      { filter = filter(random), qty = 1 },
    } }
  end },
  { "line", "multi_price", function(random)
    return { n = 1 + random.below(4), price = random.pick(AMOUNTS) }
  end },
  { "order", "percent", percent }, { "order", "amount", amount },
  { "shipping", "percent", percent }, { "shipping", "amount", amount },
  { "shipping", "fixed_price", amount }, { "shipping", "free", function() return {} end },
}


local function promotion(random, k)
  local maker = random.pick(MAKERS)
  local out = maker[3](random)
  out.id, out.level, out.type = "P" .. k, maker[1], maker[2]
  out.filter = filter(random)
  if random.chance(3) then out.priority = 1 + random.below(3) end
  if random.chance(4) then out.exclusive = true end
  if random.chance(4) then out.group = random.pick { "g", "h" } end
  if random.chance(6) then out.combines_with = { random.pick { "line", "order", "shipping" } } end
  if random.chance(6) then out.stop = true end
  if random.chance(6) then out.max_discount = random.pick(AMOUNTS) end
  if random.chance(8) then out.budget_remaining = random.pick(AMOUNTS) end
  if random.chance(8) then out.code = random.pick { "one", "two" } end
  if random.chance(4) then out.max_applications = 1 + random.below(3) end
  if random.chance(5) then
    out.conditions = { min_subtotal = random.pick(AMOUNTS), min_qty = 1 + random.below(3) }
  end
  return out
end


local function price_list(random)
  return {
    { list = "t", kind = "override", min_qty = 2 + random.below(3), unit_price = 90 },
    { list = "s", kind = "sale", unit_price = random.pick(PRICES) },
  }
end


local function line(random, k)
  local tags = {}
  for _, tag in ipairs(TAGS) do
    if random.chance(2) then tags[#tags + 1] = tag end
  end
  return {
    id = "L" .. k, sku = random.pick(SKUS), qty = random.below(7), tags = tags,
    unit_price = random.pick(PRICES), tax_class = random.pick(CLASSES),
    discountable = not random.chance(8), prices = random.chance(6) and price_list(random) or nil,
  }
end


local SHIPPING_CLASSES = { "standard", "double", "proportional", "highest" }


local function shipping(random)
  if random.chance(3) then return nil end
  return {
    amount = random.pick { 0, 1, 499, 1490 },
    tax_class = not random.chance(4) and random.pick(SHIPPING_CLASSES) or nil,
  }
end


local function list_of(random, count, maker)
  local out = {}
  for k = 1, count do out[k] = maker(random, k) end
  return out
end


function carts.new(random)
  local cash = random.chance(3)
  return {
    currency = "EUR", exponent = 2, date = "2026-06-01T00:00:00Z", tax_rates = RATES,
    prices_include_tax = random.chance(2),
    rounding = {
      tax_level = random.pick { "line", "unit", "order" },
      mode = random.pick { "half_up", "half_even" },
    },
    lines = list_of(random, random.below(6), line),
    promotions = list_of(random, random.below(6), promotion),
    shipping = shipping(random),
    codes = random.pick { {}, { "ONE" }, { " two ", "One", "three" } },
    store_credits = random.chance(3) and { { id = "S", balance = random.pick(AMOUNTS) } } or nil,
    tender = cash and { type = "cash", increment = random.pick { 1, 5, 100 } } or nil,
    customer = random.chance(8) and { tax_exempt = true } or nil,
  }
end


return carts
