-- till/rule/tax - which taxes a class carries, and what they come to.
--
-- A profile is what a tax class means on the cart's date and in its region:
--   { signature=, total=F, components = { { code, rate, factor=f, part= } } }
-- `part` is what the rounded tax is a fraction of: f itself when prices exclude tax, f / (1 + F)
-- when they include it. An entry is an amount to be taxed: { profile=, amount=, qty=, taxes={} };
-- tax.assess fills `taxes` in the order of the profile's components.
local exact = require "till.util.exact"
local money = require "till.money"
local rate = require "till.rule.rate"

local tax = {}

local NONE = {}

-- A tax that leaves the range makes the grand total leave it too, which is where it is refused.
local BEYOND = exact.MAX + 1


local function as_text(value)
  if type(value) == "number" then return string.format("%.14g", value) end
  return value
end


local function read_components(list, date)
  local out, names, total = {}, {}, exact.ZERO
  for _, item in ipairs(list) do
    if rate.place(date, item.from, item.to) == "within" then
      local factor = rate.percent(item.rate)
      if not factor then error("tax rate is not a decimal: " .. tostring(item.rate), 0) end
      if item.compound == true then factor = exact.times(factor, exact.plus(exact.ONE, total)) end
      total = exact.plus(total, factor)
      local text = as_text(item.rate)
      out[#out + 1] = { code = item.code, rate = text, factor = factor, part = factor }
      names[#out] = (item.code or "") .. ":" .. text
    end
  end
  return out, total, table.concat(names, "|")
end


local function make_profile(list, date, inclusive)
  local components, total, signature = read_components(list, date)
  if inclusive and #components > 0 then
    local whole = exact.plus(exact.ONE, total)
    for _, component in ipairs(components) do
      component.part = exact.over(component.factor, whole)
    end
  end
  return { components = components, total = total, signature = signature }
end


-- What a list meant when it was read last, with the list as it was then. A shop has few of them,
-- and asks at each change of a cart.
local kept = { [true] = setmetatable({}, { __mode = "k" }),
  [false] = setmetatable({}, { __mode = "k" }) }


local function is_of(profile, list)
  local items = profile.items
  if #items ~= #list then return false end
  for i = 1, #items do
    local item, now = items[i], list[i]
    if item.code ~= now.code or item.rate ~= now.rate or item.compound ~= now.compound
      or now.from or now.to then return false end
  end
  return true
end


local function has_windows(list)
  for i = 1, #list do
    if list[i].from or list[i].to then return true end
  end
  return false
end


-- `list` of components as configured, nil for none. A profile is everybody's: nobody changes it.
function tax.profile(list, date, inclusive)
  list, inclusive = list or NONE, inclusive == true
  local profile = kept[inclusive][list]
  if profile and is_of(profile, list) then return profile end
  profile = make_profile(list, date, inclusive)
  if not has_windows(list) then
    profile.items = {}
    for i, item in ipairs(list) do
      profile.items[i] = { code = item.code, rate = item.rate, compound = item.compound }
    end
    kept[inclusive][list] = profile
  end
  return profile
end


-- -> function(class) -> profile, each class read once.
function tax.reader(given, inclusive)
  local rates, region = given.tax_rates or NONE, given.region
  local regional = region and rates[region] or NONE
  local exempt = given.customer and given.customer.tax_exempt == true
  local known = {}
  return function(class)
    class = class or "standard"
    if not known[class] then
      local list = not exempt and (regional[class] or rates[class]) or nil
      known[class] = tax.profile(list, given.date, inclusive)
    end
    return known[class]
  end
end


-- The distinct profiles of the goods with what each weighs, by signature.
local function group_goods(cart, left)
  local groups, at, all_zero = {}, {}, true
  for i, line in ipairs(cart.lines) do
    local signature = line.profile.signature
    local group = at[signature]
    if not group then
      group = { profile = line.profile, left = 0, shelf = 0 }
      at[signature] = group
      groups[#groups + 1] = group
    end
    group.left = group.left + left[i]
    group.shelf = group.shelf + line.amount
    if left[i] > 0 then all_zero = false end
  end
  table.sort(groups, function(a, b) return a.profile.signature < b.profile.signature end)
  return groups, all_zero and "shelf" or "left"
end


-- Goods without any price weigh nothing: every part is then zero, and shipping carries no tax.
local function split_shipping(cart, left, amount)
  local groups, weigh_by = group_goods(cart, left)
  local weights = {}
  for i, group in ipairs(groups) do weights[i] = group[weigh_by] end
  local parts = {}
  for i, share in ipairs(money.split(amount, weights)) do
    parts[i] = { profile = groups[i].profile, amount = share, qty = 1 }
  end
  return parts
end


local function highest_profile(cart)
  local groups = group_goods(cart, cart.no_discount)
  local best = groups[1].profile
  for i = 2, #groups do
    local profile = groups[i].profile
    if exact.compare_fractions(profile.total, best.total) > 0 then best = profile end
  end
  return best
end


-- Shipping as entries to tax: one, one for each profile of the goods, or none when it has no class
-- or costs nothing to begin with (made free by a promotion it still shows its taxes, of zero).
function tax.shipping_entries(cart, left, amount)
  local class = cart.shipping_class
  if not class or cart.shipping == 0 then return {} end
  if class == "proportional" then
    return split_shipping(cart, left, amount)
  end
  if class == "highest" then
    if #cart.lines == 0 then return {} end
    return { { profile = highest_profile(cart), amount = amount, qty = 1 } }
  end
  return { { profile = cart.profile_of(class), amount = amount, qty = 1 } }
end


local function plain(value)
  return type(value) == "number" and value or BEYOND
end


local function assess_line(entry, mode)
  local taxes = {}
  for k, component in ipairs(entry.profile.components) do
    local part = component.part
    taxes[k] = plain(exact.scale(entry.amount, part.n, part.d, mode))
  end
  entry.taxes = taxes
end


local function assess_unit(entry, mode)
  local each, extra = money.even(entry.amount, entry.qty)
  local taxes = {}
  for k, component in ipairs(entry.profile.components) do
    local part = component.part
    local low = exact.scale(each, part.n, part.d, mode)
    local high = extra > 0 and exact.scale(each + 1, part.n, part.d, mode) or 0
    taxes[k] = plain(exact.add(
      exact.multiply(low, entry.qty - extra), exact.multiply(high, extra)))
  end
  entry.taxes = taxes
end


-- The same (code, rate) on every entry that has it, in the order of the entries.
local function group_components(entries)
  local groups, at = {}, {}
  for _, entry in ipairs(entries) do
    entry.taxes = {}
    for k, component in ipairs(entry.profile.components) do
      local key = component.code .. "\0" .. component.rate
      local group = at[key]
      if not group then
        group = {}
        at[key] = group
        groups[#groups + 1] = group
      end
      group[#group + 1] = { entry = entry, k = k, part = component.part }
    end
  end
  return groups
end


-- Exact taxes over one denominator: as whole weights and their sum.
local function weigh(group)
  local denominator = group[1].part.d
  for i = 2, #group do
    local d = group[i].part.d
    if d ~= denominator then
      denominator = exact.multiply(denominator, (exact.divide(d, exact.gcd(denominator, d))))
    end
  end
  local weights, sum = {}, 0
  for i, item in ipairs(group) do
    local factor = exact.multiply(item.part.n, (exact.divide(denominator, item.part.d)))
    weights[i] = exact.multiply(item.entry.amount, factor)
    sum = exact.add(sum, weights[i])
  end
  return weights, sum, denominator
end


local function assess_order(entries, mode)
  for _, group in ipairs(group_components(entries)) do
    local weights, sum, denominator = weigh(group)
    local shares = money.split(plain(exact.scale(sum, 1, denominator, mode)), weights)
    for i, item in ipairs(group) do item.entry.taxes[item.k] = shares[i] end
  end
end


function tax.assess(entries, level, mode)
  if level == "order" then return assess_order(entries, mode) end
  local assess = level == "unit" and assess_unit or assess_line
  for i = 1, #entries do assess(entries[i], mode) end
end


return tax
