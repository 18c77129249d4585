-- till/flow/pricing - what a cart costs now: shelf prices, taxes, shipping and promotions are
-- gathered here, the figures come from till.rule.price.
--
--   pricing.price(cart [, opts]) -> { priced =, given =, result =, items =, labels =, case = }
--               | nil, err;  opts { trial =, variants =, customer =, date = } for what is tried
--               (till.flow.rule_try). `case` is for till.flow.rulebook
--   pricing.has_price(variant, currency) -> boolean
--   pricing.options(cart) -> { { id, label, amount, tax_class, min_days, max_days } } | nil, err
--
-- `priced` is what the cart keeps and the shopper sees; `given` and `result` are frozen with the
-- order. Nothing here writes, and no transaction may be open: carriers, tax services and the box of
-- the merchants' rules may be asked. Meanwhile nobody else may change the cart that is given.
local catalog = require "till.flow.catalog"
local conf = require "till.prim.conf"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local money = require "till.money"
local people = require "till.store.people"
local price = require "till.rule.price"
local rulebook = require "till.flow.rulebook"
local shelf_rule = require "till.rule.shelf"
local terms_of = require "till.flow.promo_terms"
local time = require "till.prim.time"

local pricing = {}

local NO_OPTIONS = {}
local NO_PRICES = {} -- but those that the lines have


local function is_base(p, currency)
  return p.currency == currency and p.kind == "base" and p.min_qty == 1 and not p.customer_group
    and not p.starts_at and not p.ends_at and p.list == ""
end


-- A base price with terms of its own is an override in the words of the rules.
local function shelf(variant, currency)
  local unit_price, entries = nil, {}
  for _, p in ipairs(variant.prices) do
    if is_base(p, currency) then
      unit_price = math.min(unit_price or p.amount, p.amount)
    elseif p.currency == currency then
      entries[#entries + 1] = { list = p.list, kind = p.kind == "sale" and "sale" or "override",
        unit_price = p.amount, min_qty = p.min_qty, group = p.customer_group,
        starts_at = p.starts_at, ends_at = p.ends_at }
    end
  end
  return unit_price, entries
end


--- Without one a line of it cannot be priced.
function pricing.has_price(variant, currency)
  return shelf(variant, currency) ~= nil
end


local function title_of(variant)
  if variant.title == "" then return variant.product_title end
  return variant.product_title .. ", " .. variant.title
end


local function variants_of(cart)
  local ids = {}
  for i, line in ipairs(cart.lines) do ids[i] = line.variant_id end
  return catalog.variants(ids)
end


-- Plugins get a list of their own: the catalogue's is everybody's.
local function copy_of(list)
  local out = {}
  for i, value in ipairs(list) do out[i] = value end
  return out
end


-- -> lines of the rules, and what is known of each by its id
local function lines_of(cart, variants)
  local e
  if not variants then variants, e = variants_of(cart) end
  if not variants then return nil, e end
  local lines, items = {}, {}
  for i, line in ipairs(cart.lines) do
    local v = variants[line.variant_id]
    if not v then return nil, err.new("not_found", "a product of the cart is gone") end
    local unit_price, entries = shelf(v, cart.currency)
    if not unit_price then
      return nil, err.new("no_price", ("%s has no price in %s"):format(v.sku, cart.currency),
        { sku = v.sku })
    end
    lines[i] = { id = line.id, sku = v.sku, qty = line.quantity, unit_price = unit_price,
      prices = entries, tax_class = v.tax_class, tags = copy_of(v.tags) }
    items[line.id] = { variant = v, title = title_of(v), line = line }
  end
  return lines, items
end


local function customer_of(cart)
  if not cart.customer_id then return {} end
  local row, e = people.customers.get(cart.customer_id)
  if row == nil then return nil, e end
  return row or {}
end


local function address_of(cart)
  return cart.shipping_address or { country = cart.country }
end


local function tax_of(cart, date)
  local address = address_of(cart)
  local answer, e = dispatch.ask("tax.calculate", { country = address.country or cart.country,
    region = address.region, date = date, currency = cart.currency })
  if e then return nil, e end
  return answer or { prices_include_tax = false, tax_rates = {} }
end


local function has_entries(lines)
  for _, line in ipairs(lines) do
    if line.prices[1] then return true end
  end
  return false
end


-- What the rules would take from the shelf: sales, tiers and overrides are in it.
local function shelf_prices(cart, lines, date, customer)
  if not has_entries(lines) then return NO_PRICES end
  local built = shelf_rule.build { currency = cart.currency, date = date, tax_rates = {},
    exponent = money.exponent(cart.currency), lines = lines, promotions = {},
    prices_include_tax = true, rounding = { mode = "half_up", tax_level = "line" },
    customer = { group = customer.group } }
  local out = {}
  for _, line in ipairs(built and built.lines or {}) do out[line.id] = line.price end
  return out
end


local function goods(cart, lines, items, prices)
  local subtotal, weight, list = 0, 0, {}
  for i, line in ipairs(lines) do
    local v = items[line.id].variant
    local unit_price = prices[line.id] or line.unit_price
    subtotal, weight = subtotal + unit_price * line.qty, weight + v.weight_g * line.qty
    list[i] = { id = line.id, sku = line.sku, tags = line.tags, quantity = line.qty,
      unit_price = unit_price, weight_g = v.weight_g,
      tax_class = line.tax_class, product_id = v.product_id, title = items[line.id].title }
  end
  return { id = cart.id, currency = cart.currency, country = cart.country, lines = list,
    subtotal = subtotal, weight_g = weight, codes = cart.codes, email = cart.email }
end


local heads = {} -- name of a plugin -> how the ids of its options begin


-- "shipping-flat" answers `standard`: outside it is "flat:standard".
local function head_of(plugin)
  local head = heads[plugin]
  if not head then
    head = plugin:gsub("^shipping%-", "") .. ":"
    heads[plugin] = head
  end
  return head
end


local function quotes(cart, summary)
  local answers, e = dispatch.ask("shipping.quote", { cart = summary, address = address_of(cart),
    subtotal = summary.subtotal, weight_g = summary.weight_g, currency = cart.currency })
  if not answers then return nil, e end
  local out = {}
  for _, answer in ipairs(answers) do
    local head = head_of(answer.plugin)
    for _, option in ipairs(answer.value) do
      out[#out + 1] = { id = head .. option.id, label = option.label,
        amount = option.amount, tax_class = option.tax_class, min_days = option.min_days,
        max_days = option.max_days }
    end
  end
  return out
end


local function chosen(cart, summary)
  if not cart.shipping_option_id or #summary.lines == 0 then return false end
  local options, e = quotes(cart, summary)
  if not options then return nil, e end
  for _, option in ipairs(options) do
    if option.id == cart.shipping_option_id then return option end
  end
  return nil, err.new("shipping_unavailable",
    ("%s is not offered for this cart and address"):format(cart.shipping_option_id))
end


local function base_given(cart, parts)
  local tax, customer = parts.tax, parts.customer
  return {
    currency = cart.currency, exponent = money.exponent(cart.currency), date = parts.date,
    prices_include_tax = tax.prices_include_tax or false,
    rounding = { mode = "half_up", tax_level = tax.tax_level or "line" },
    tax_rates = tax.tax_rates or {}, lines = parts.lines, codes = cart.codes,
    promotions = parts.promotions,
    customer = { group = customer.group, tax_exempt = customer.tax_exempt or nil },
    region = address_of(cart).country,
  }
end


local function gather(cart, opts)
  local lines, items = lines_of(cart, opts.variants)
  if not lines then return nil, items end
  local parts = { lines = lines, items = items, date = opts.date or time.rfc3339(time.now_ms()) }
  local e
  parts.customer = opts.customer
  if not parts.customer then parts.customer, e = customer_of(cart) end
  if not parts.customer then return nil, e end
  parts.summary = goods(cart, lines, items,
    shelf_prices(cart, lines, parts.date, parts.customer))
  parts.tax, e = tax_of(cart, parts.date)
  if not parts.tax then return nil, e end
  parts.option, e = chosen(cart, parts.summary)
  if parts.option == nil then return nil, e end
  local rows
  rows, e = terms_of.rows(cart)
  if not rows then return nil, e end
  parts.case = rulebook.case(parts.summary, parts.customer, parts.date, opts.trial)
  parts.promotions, parts.labels = terms_of.collect(rows, cart, parts.case)
  return parts
end


local function line_view(frozen, item)
  local v = item.variant
  return { id = frozen.id, variant_id = v.id, product_id = v.product_id, handle = v.handle,
    image = v.image, sku = v.sku, title = item.title, quantity = frozen.qty, parts = v.parts,
    unit_price = frozen.unit_price, subtotal = frozen.amount,
    discount_total = frozen.discount_total, tax_total = frozen.tax, total = frozen.total }
end


-- Codes that were entered are shown with the reason when they give nothing.
local function promotions_view(result, labels)
  local out = {}
  for id, label in pairs(labels) do
    local amount, reason = result.applied[id], result.rejected[id]
    if amount or label.code and reason then
      out[#out + 1] = { id = label.public and id or nil, code = label.code, name = label.name,
        amount = amount or 0, reason = not amount and reason or nil, rule = label.rule, key = id }
    end
  end
  table.sort(out, function(a, b) return a.key < b.key end)
  for _, p in ipairs(out) do p.key = nil end
  return out
end


local function view(cart, parts, result)
  local by_id, lines = {}, {}
  for _, frozen in ipairs(result.lines) do by_id[frozen.id] = frozen end
  for i, line in ipairs(cart.lines) do
    lines[i] = line_view(by_id[line.id], parts.items[line.id])
  end
  local o, option = result.order, parts.option
  return { lines = lines, promotions = promotions_view(result, parts.labels),
    subtotal = o.subtotal, discount_total = o.discount_total, shipping_total = o.shipping,
    tax_total = o.tax_total, total = o.grand_total, shipping_label = option and option.label or nil,
    prices_include_tax = parts.tax.prices_include_tax or false }
end


local function failed(code)
  if code == "amount_overflow" or code == "invalid_quantity" then
    return nil, err.new(code, "the cart cannot be priced: " .. code)
  end
  return nil, err.new("internal", "the rules of price refused their input: " .. tostring(code))
end


function pricing.price(cart, opts)
  local parts, e = gather(cart, opts or NO_OPTIONS)
  if not parts then return nil, e end
  local given = base_given(cart, parts)
  if parts.option then
    given.shipping = { amount = parts.option.amount,
      tax_class = parts.option.tax_class or parts.tax.shipping_tax_class }
  end
  local result = price.calculate(given)
  if result.status ~= "ok" then return failed(result.error) end
  return { priced = view(cart, parts, result), given = given, result = result,
    items = parts.items, labels = parts.labels, case = parts.case }
end


function pricing.options(cart)
  local lines, items = lines_of(cart)
  if not lines then return nil, items end
  if #lines == 0 then return {} end
  local customer, e = customer_of(cart)
  if not customer then return nil, e end
  local date = time.rfc3339(time.now_ms())
  return quotes(cart, goods(cart, lines, items, shelf_prices(cart, lines, date, customer)))
end


--- Defaults of the shop, for carts that name none.
function pricing.defaults()
  return { currency = conf.get("shop.currency"), country = conf.get("shop.country") }
end


return pricing
