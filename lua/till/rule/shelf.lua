-- till/rule/shelf - from what was put in the cart to lines with shelf prices in canonical order.
--
--   shelf.build(given) -> cart | nil, "amount_overflow"
-- cart = { lines = { { id, sku, qty, price, amount, tags, discountable, on_sale, profile } },
--   subtotal, shipping, shipping_class, inclusive, mode, tax_level, factor (fx, may be nil),
--   profile_of(class) }. Nothing in it changes afterwards.
local exact = require "till.util.exact"
local fx = require "till.rule.fx"
local rate = require "till.rule.rate"
local tax = require "till.rule.tax"

local shelf = {}

local NONE = {}


local function applies(entry, given, tier_qty)
  if (entry.min_qty or 1) > tier_qty then return false end
  local group = entry.group
  if group and group ~= (given.customer and given.customer.group) then return false end
  return rate.place(given.date, entry.starts_at, entry.ends_at) == "within"
end


-- Per list the entry with the highest min_qty that is reached; equal ones leave the lower price.
local function best_of_lists(line, given, tier_qty)
  local best, lists = {}, {}
  for _, entry in ipairs(line.prices) do
    if applies(entry, given, tier_qty) then
      local list = entry.list or ""
      local old = best[list]
      local min_qty = entry.min_qty or 1
      local old_qty = old and (old.min_qty or 1) or 0
      if not old then lists[#lists + 1] = list end
      if min_qty > old_qty or min_qty == old_qty and entry.unit_price < old.unit_price then
        best[list] = entry
      end
    end
  end
  return best, lists
end


-- -> unit price, whether it is a sale price
local function pick_price(line, given, tier_qty)
  if not line.prices or #line.prices == 0 then return line.unit_price, false end
  local best, lists = best_of_lists(line, given, tier_qty)
  local lowest = {}
  for _, list in ipairs(lists) do
    local entry = best[list]
    local so_far = lowest[entry.kind]
    if not so_far or entry.unit_price < so_far then lowest[entry.kind] = entry.unit_price end
  end
  local base = lowest.override or line.unit_price
  if lowest.sale and lowest.sale < base then return lowest.sale, true end
  return base, false
end


-- -> function(amount, class): what the amount is in the order's currency without the home tax.
local function new_conversion(given, factor, mode)
  local strip = given.strip_included_tax
  if not factor and not strip then return nil end
  local known = {}
  return function(amount, class)
    if factor then amount = fx.convert(amount, factor, mode) end
    if not strip or not class or amount > exact.MAX then return amount end
    if not known[class] then
      local total = tax.profile(strip[class], given.date, false).total
      known[class] = exact.over(exact.ONE, exact.plus(exact.ONE, total))
    end
    return exact.scale(amount, known[class].n, known[class].d, mode)
  end
end


local function count_skus(lines)
  local count = {}
  for _, line in ipairs(lines) do count[line.sku] = (count[line.sku] or 0) + line.qty end
  return count
end


local function build_lines(given, cart, convert)
  local lines, count = {}, count_skus(given.lines or NONE)
  for _, source in ipairs(given.lines or NONE) do
    if source.qty > 0 then
      local price, on_sale = pick_price(source, given, count[source.sku])
      if convert then price = convert(price, source.tax_class or "standard") end
      lines[#lines + 1] = {
        id = source.id, sku = source.sku, qty = source.qty,
        price = price, amount = price * source.qty,
        tags = source.tags or NONE, discountable = source.discountable ~= false,
        on_sale = on_sale, profile = cart.profile_of(source.tax_class),
      }
    end
  end
  return lines
end


local function canonical(a, b)
  if a.sku ~= b.sku then return a.sku < b.sku end
  if a.price ~= b.price then return a.price > b.price end
  return a.id < b.id
end


-- A class that is decided by the goods has no home rate of its own; the standard one was in it.
local function stripped_class(class)
  if class == "proportional" or class == "highest" then return "standard" end
  return class
end


-- A price or a line beyond the range takes the subtotal there with it.
local function add_amounts(cart, given, convert)
  local subtotal, shelf_amounts = 0, {}
  for i, line in ipairs(cart.lines) do
    subtotal = subtotal + line.amount
    if subtotal > exact.MAX then return nil, "amount_overflow" end
    shelf_amounts[i] = line.amount
  end
  local shipping = given.shipping or NONE
  cart.subtotal, cart.no_discount = subtotal, shelf_amounts
  cart.shipping_class = shipping.tax_class
  cart.shipping = shipping.amount or 0
  if convert then cart.shipping = convert(cart.shipping, stripped_class(shipping.tax_class)) end
  if cart.shipping > exact.MAX then return nil, "amount_overflow" end
  return cart
end


function shelf.build(given)
  local rounding = given.rounding or NONE
  local inclusive = given.prices_include_tax == true and not given.strip_included_tax
  local cart = {
    inclusive = inclusive,
    mode = rounding.mode or "half_up",
    tax_level = rounding.tax_level or "line",
    profile_of = tax.reader(given, inclusive),
    -- set below, here so that the table need not grow
    lines = false, subtotal = 0, no_discount = false, shipping_class = false, shipping = 0,
  }
  if given.fx then
    local from = given.fx.from_exponent or given.exponent
    cart.factor = fx.factor(given.fx, from, given.exponent)
  end
  local convert = new_conversion(given, cart.factor, cart.mode)
  cart.lines = build_lines(given, cart, convert)
  table.sort(cart.lines, canonical)
  return add_amounts(cart, given, convert)
end


return shelf
