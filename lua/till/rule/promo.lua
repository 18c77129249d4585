-- till/rule/promo - promotions made ready: ordered, converted, matched to lines, and sorted out
-- when codes, dates, limits or the customer already decide against them.
--
--   promo.compile(given, cart) -> { candidates = {...}, rejected = { id = reason }, unknown_codes }
-- A candidate: { id, level, type, priority, rate | value, tiers, on = { line index -> bool },
--   conditions, exclusive, group, combines, stop, original, max_discount, budget, source }.
-- `multibuy` is set for the types of till.rule.multibuy, with their amounts converted.
local fx = require "till.rule.fx"
local rate = require "till.rule.rate"
local text = require "till.util.text"

local promo = {}

local NONE = {}
local ALL_LEVELS = { line = true, order = true, shipping = true }

local MULTIBUY = { buy_x_get_y = true, n_for_m = true, bundle_price = true, multi_price = true }


local SHORT = 16
local sets = setmetatable({}, { __mode = "k" })


-- A merchant's rule may name thousands, and each is held against every line.
local function set_of(list)
  local set = sets[list]
  if set then return set end
  set = {}
  for i = 1, #list do set[list[i]] = true end
  sets[list] = set
  return set
end


local function contains(list, value)
  local n = #list
  if n > SHORT then return set_of(list)[value] == true end
  for i = 1, n do
    if list[i] == value then return true end
  end
  return false
end


local function shares_one(list, other)
  for i = 1, #other do
    if contains(list, other[i]) then return true end
  end
  return false
end


-- An empty list restricts nothing: it is what a form sends for a field left alone.
local function given_list(list)
  if type(list) == "table" and #list > 0 then return list end
  return nil
end


function promo.matches(filter, line)
  if not line.discountable then return false end
  if not filter then return true end
  if contains(filter.exclude_skus or NONE, line.sku) then return false end
  if shares_one(filter.exclude_tags or NONE, line.tags) then return false end
  if filter.exclude_on_sale == true and line.on_sale then return false end
  local skus, tags = given_list(filter.skus), given_list(filter.tags)
  if not skus and not tags then return true end
  return skus ~= nil and contains(skus, line.sku) or tags ~= nil and shares_one(tags, line.tags)
end


local function normal(code)
  return text.strip(tostring(code)):upper()
end


local function entered_codes(given)
  local set, list = {}, {}
  for _, code in ipairs(given.codes or NONE) do
    code = normal(code)
    if not set[code] then
      set[code] = true
      list[#list + 1] = code
    end
  end
  return set, list
end


local function unknown_codes(list, promotions)
  local known, out = {}, {}
  if #list == 0 then return out end
  for _, source in ipairs(promotions) do
    if source.code then known[normal(source.code)] = true end
  end
  for _, code in ipairs(list) do
    if not known[code] then out[#out + 1] = code end
  end
  table.sort(out)
  return out
end


-- A restriction is one name or a list of names.
local function allows(wanted, actual)
  if wanted == nil then return true end
  if type(wanted) == "table" then return contains(wanted, actual) end
  return wanted == actual
end


local function is_used_up(remaining)
  return type(remaining) == "number" and remaining <= 0
end


-- The reasons that do not depend on the cart, first hit wins.
local function rejection(source, given, codes)
  if source.code and not codes[normal(source.code)] then return "code_not_entered" end
  local place = rate.place(given.date, source.starts_at, source.ends_at)
  if place == "before" then return "not_started" end
  if place == "after" then return "expired" end
  if is_used_up(source.usage_remaining) then return "usage_limit" end
  if is_used_up(source.customer_usage_remaining) then return "customer_limit" end
  local conditions = source.conditions
  if not conditions then return nil end
  local group = given.customer and given.customer.group
  if not allows(conditions.customer_groups or conditions.customer_group, group) then
    return "customer_group"
  end
  if not allows(conditions.regions or conditions.region, given.region) then return "region" end
end


local function combination(source)
  if type(source.combines_with) ~= "table" then return ALL_LEVELS end
  local set = {}
  for _, level in ipairs(source.combines_with) do set[level] = true end
  return set
end


-- -> a converter of the promotion's money into the order's currency; nil stays nil.
local function new_converter(cart)
  local factor, mode = cart.factor, cart.mode
  if not factor then return function(amount) return amount end end
  return function(amount) return amount and fx.convert(amount, factor, mode) end
end


local function compile_tiers(source, money)
  if type(source.tiers) ~= "table" then return nil end
  local tiers = {}
  for i, tier in ipairs(source.tiers) do
    local out = { min_subtotal = money(tier.min_subtotal) }
    if source.type == "percent" then
      out.rate = rate.percent(tier.value)
    else
      out.value = money(tier.value)
    end
    tiers[i] = out
  end
  return tiers
end


local function compile_conditions(source, money)
  local conditions = source.conditions
  if not conditions then return nil end
  local min_subtotal = money(conditions.min_subtotal)
  local min_qty = conditions.min_qty
  local on_shelf = conditions.min_subtotal_basis == "before_discounts"
  return { min_subtotal = min_subtotal, min_qty = min_qty, on_shelf = on_shelf }
end


local function match_lines(source, cart)
  local on = {}
  local filter = source.level ~= "shipping" and source.filter or nil
  for i, line in ipairs(cart.lines) do on[i] = promo.matches(filter, line) end
  return on
end


local function add_multibuy(out, source, money)
  local get = source.get or NONE
  out.multibuy = source.type
  out.limit = source.max_applications or math.huge
  out.price = money(source.price)
  out.get_rate = rate.percent(get.percent)
  out.get_amount, out.get_fixed = money(get.amount), money(get.fixed_price)
end


local function compile_one(source, cart, money)
  local out = {
    id = source.id, level = source.level, type = source.type, source = source,
    priority = source.priority or 100,
    on = match_lines(source, cart),
    conditions = compile_conditions(source, money),
    tiers = compile_tiers(source, money),
    exclusive = source.exclusive == true, group = source.group or nil,
    combines = combination(source),
    stop = source.stop == true, original = source.basis == "original",
    max_discount = money(source.max_discount), budget = money(source.budget_remaining),
  }
  if source.type == "percent" then
    out.rate = rate.percent(source.value)
  elseif MULTIBUY[source.type] then
    add_multibuy(out, source, money)
  else
    out.value = money(source.value)
  end
  return out
end


local function by_order(a, b)
  if a.priority ~= b.priority then return a.priority < b.priority end
  return a.id < b.id
end


function promo.compile(given, cart)
  local promotions = given.promotions or NONE
  if not promotions[1] and not (given.codes or NONE)[1] then
    return { candidates = {}, rejected = {}, unknown_codes = {} }
  end
  local codes, code_list = entered_codes(given)
  local money = new_converter(cart)
  local candidates, rejected = {}, {}
  for _, source in ipairs(promotions) do
    local reason = rejection(source, given, codes)
    if reason then
      rejected[source.id] = reason
    else
      candidates[#candidates + 1] = compile_one(source, cart, money)
    end
  end
  table.sort(candidates, by_order)
  return {
    candidates = candidates,
    rejected = rejected,
    unknown_codes = unknown_codes(code_list, promotions),
  }
end


return promo
