-- till/rule/result - the winning attempt written out in full, ready to be frozen into an order.
--
-- Every discount is there by promotion and every tax by code, on each line and on shipping, so
-- that nothing has to be worked out a second time.
local money = require "till.money"
local tender = require "till.rule.tender"

local result = {}

local NONE = {}


local function sum_values(taxes)
  local sum = 0
  for k = 1, #taxes do sum = sum + taxes[k] end
  return sum
end


-- An entry's figures by tax code; several rates of one code come together.
local function add_taxes(taxes, entry)
  for k, component in ipairs(entry.profile.components) do
    taxes[component.code] = (taxes[component.code] or 0) + entry.taxes[k]
  end
end


-- Net is always the remainder, so that net + tax = total holds whatever was rounded.
local function finish(out, taxes, tax, inclusive)
  out.taxes, out.tax = taxes, tax
  out.net = inclusive and out.discounted_amount - tax or out.discounted_amount
  out.total = out.net + tax
  return out
end


-- Which of the discounts merchants' rules gave: { [promotion] = { name, version, hash } }, or nil.
local function rules_in(discounts, by_id)
  if not by_id then return nil end
  local out
  for id in pairs(discounts) do
    if by_id[id] then
      out = out or {}
      out[id] = by_id[id]
    end
  end
  return out
end


local function rules_of(given)
  local out
  for _, promotion in ipairs(given.promotions or NONE) do
    if promotion.rule then
      out = out or {}
      out[promotion.id] = promotion.rule
    end
  end
  return out
end


local function build_line(run, i, entry, rules)
  local line, left = run.cart.lines[i], run.left[i]
  local taxes = {}
  add_taxes(taxes, entry)
  local discount = line.amount - left
  local each, extra = money.even(discount, line.qty)
  return finish({
    id = line.id, sku = line.sku, qty = line.qty, unit_price = line.price, amount = line.amount,
    discounts = run.discounts[i], discount_total = discount,
    unit_discount = { each = each, extra_units = extra },
    discounted_amount = left, rules = rules_in(run.discounts[i], rules),
  }, taxes, sum_values(entry.taxes), run.cart.inclusive)
end


local function build_shipping(run, rules)
  local taxes, tax = {}, 0
  for _, entry in ipairs(run.shipping_entries) do
    add_taxes(taxes, entry)
    tax = tax + sum_values(entry.taxes)
  end
  local amount, left = run.cart.shipping, run.shipping_left
  return finish({
    amount = amount, discounts = run.shipping_discounts, discount_total = amount - left,
    discounted_amount = left, rules = rules_in(run.shipping_discounts, rules),
  }, taxes, tax, run.cart.inclusive)
end


local function by_code_and_rate(a, b)
  if a.code ~= b.code then return a.code < b.code end
  return a.rate < b.rate
end


local function add_to_summary(rows, at, entry, inclusive)
  local net = entry.amount
  if inclusive then net = net - sum_values(entry.taxes) end
  for k, component in ipairs(entry.profile.components) do
    local key = component.code .. "\0" .. component.rate
    local row = at[key]
    if not row then
      row = { code = component.code, rate = component.rate, net = 0, tax = 0 }
      at[key] = row
      rows[#rows + 1] = row
    end
    row.net = row.net + net
    row.tax = row.tax + entry.taxes[k]
  end
end


local function build_summary(run)
  local rows, at = {}, {}
  for _, entry in ipairs(run.line_entries) do
    add_to_summary(rows, at, entry, run.cart.inclusive)
  end
  for _, entry in ipairs(run.shipping_entries) do
    add_to_summary(rows, at, entry, run.cart.inclusive)
  end
  table.sort(rows, by_code_and_rate)
  return rows
end


local function build_order(run, shipping, given)
  local cart = run.cart
  local pay = tender.pay(given, run.grand_total)
  return {
    subtotal = cart.subtotal,
    line_discount = run.line_discount,
    order_discount = run.order_discount,
    shipping_discount = shipping.discount_total,
    discount_total = run.line_discount + run.order_discount + shipping.discount_total,
    shipping = shipping.discounted_amount,
    net_total = run.grand_total - run.tax_total,
    tax_total = run.tax_total,
    grand_total = run.grand_total,
    store_credit = pay.store_credit,
    cash_rounding = pay.cash_rounding,
    amount_due = pay.amount_due,
  }
end


function result.build(run, given)
  local lines, rules = {}, rules_of(given)
  for i, entry in ipairs(run.line_entries) do lines[i] = build_line(run, i, entry, rules) end
  local shipping = build_shipping(run, rules)
  return {
    status = "ok",
    lines = lines,
    shipping = shipping,
    tax_summary = build_summary(run),
    order = build_order(run, shipping, given),
    applied = run.applied,
    rejected = run.rejected,
  }
end


return result
