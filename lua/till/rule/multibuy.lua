-- till/rule/multibuy - line promotions that count units: buy X get Y, n for m, sets for a price.
--
-- They come before all simple line promotions and look at shelf prices. Units of a line are alike,
-- so everything is done with counts per line; a unit that one multibuy used is gone for the next.
-- Each kind answers with an offer, arrays with one entry for each line, or nil when it gives
-- nothing: { shares = discount, used = units consumed, given = units that carry the discount }.
local effect = require "till.rule.effect"
local money = require "till.money"
local promo = require "till.rule.promo"

local multibuy = {}

local floor, min, max = math.floor, math.min, math.max


local function zeros(count)
  local out = {}
  for i = 1, count do out[i] = 0 end
  return out
end


-- Lines that match the promotion's own filter and, if there is one, the part's.
local function part_matches(promotion, part, cart)
  local on = {}
  local filter = part and part.filter
  for i, line in ipairs(cart.lines) do
    on[i] = promotion.on[i] and promo.matches(filter, line)
  end
  return on
end


-- Indexes of matching lines by price; of equal prices those not in `avoided` first, then as they
-- stand, which is canonical.
local function ordered(cart, on, dearest_first, avoided)
  local list = {}
  for i = 1, #cart.lines do
    if on[i] then list[#list + 1] = i end
  end
  table.sort(list, function(a, b)
    local x, y = cart.lines[a].price, cart.lines[b].price
    if x ~= y then
      if dearest_first then return x > y end
      return x < y
    end
    if avoided and avoided[a] ~= avoided[b] then return not avoided[a] end
    return a < b
  end)
  return list
end


-- Takes up to `want` units along `order` into `counts`; -> how many are still wanted.
local function take(order, available, counts, want)
  for _, i in ipairs(order) do
    if want == 0 then break end
    local units = min(available[i] - counts[i], want)
    counts[i] = counts[i] + units
    want = want - units
  end
  return want
end


-- Worked out once for each call of the rules, whatever the number of sets that are tried.
local function prepare_parts(promotion, cart)
  local source, parts = promotion.source, {}
  local components = source.components or { { qty = source.n } }
  local touches = {}
  for i = 1, #cart.lines do touches[i] = false end
  for k, component in ipairs(components) do
    local on = part_matches(promotion, component, cart)
    parts[k] = { qty = component.qty, order = ordered(cart, on, true) }
    for i = 1, #on do touches[i] = touches[i] or on[i] end
  end
  promotion.parts, promotion.touches = parts, touches
end


local function prepare_buy_get(promotion, cart)
  local source, touches = promotion.source, {}
  local buy = part_matches(promotion, source.buy, cart)
  local get = part_matches(promotion, source.get, cart)
  for i = 1, #buy do touches[i] = buy[i] or get[i] end
  local dearest = source.selection == "most_expensive"
  promotion.buy_on, promotion.get_on, promotion.touches = buy, get, touches
  promotion.buy_order = ordered(cart, buy, true, get)
  promotion.get_order = ordered(cart, get, dearest, buy)
end


local function prepare_n_for_m(promotion, cart)
  promotion.touches = promotion.on
  promotion.cheapest = ordered(cart, promotion.on, false)
  promotion.dearest = ordered(cart, promotion.on, true)
end


local PREPARE = {
  buy_x_get_y = prepare_buy_get,
  n_for_m = prepare_n_for_m,
  bundle_price = prepare_parts,
  multi_price = prepare_parts,
}


-- Adds to the promotion what does not depend on the set that is tried; `touches` says on which
-- lines it could meet another promotion.
function multibuy.prepare(promotion, cart)
  PREPARE[promotion.multibuy](promotion, cart)
end


local function count_sides(promotion, available)
  local buy_only, get_only, common = 0, 0, 0
  for i = 1, #available do
    local buy, get = promotion.buy_on[i], promotion.get_on[i]
    if buy and get then
      common = common + available[i]
    elseif buy then
      buy_only = buy_only + available[i]
    elseif get then
      get_only = get_only + available[i]
    end
  end
  return buy_only, get_only, common
end


-- -> units bought and units given: whole applications and, below the limit, one that gives less.
local function size_buy_get(promotion, b, g, c)
  local buy, get = promotion.source.buy.qty, promotion.source.get.qty
  local times = min(floor((b + c) / buy), floor((g + c) / get), floor((b + c + g) / (buy + get)))
  if times >= promotion.limit then
    times = max(0, promotion.limit)
    return times * buy, times * get
  end
  local bought, given = times * buy, times * get
  local part = min(get - 1, g + c - given, b + c + g - bought - buy - given)
  if part >= 1 and b + c >= bought + buy then return bought + buy, given + part end
  return bought, given
end


-- Enough common units stay behind for the side that is bought.
local function take_given(promotion, available, want, common_left)
  local given = zeros(#available)
  for _, i in ipairs(promotion.get_order) do
    local units = min(available[i], want)
    if promotion.buy_on[i] then
      units = min(units, common_left)
      common_left = common_left - units
    end
    given[i] = units
    want = want - units
  end
  return given
end


local function given_discount(promotion, line, units, mode)
  if promotion.get_rate then return money.round(line.price * units, promotion.get_rate, mode) end
  if promotion.get_amount then return min(line.price, promotion.get_amount) * units end
  return max(0, line.price - promotion.get_fixed) * units
end


local function buy_x_get_y(run, promotion)
  local available, cart = run.available, run.cart
  local b, g, c = count_sides(promotion, available)
  local bought, wanted = size_buy_get(promotion, b, g, c)
  if wanted == 0 then return nil end
  local given = take_given(promotion, available, wanted, c - max(0, bought - b))
  local used = effect.copy(given)
  take(promotion.buy_order, available, used, bought)
  local shares = {}
  for i, line in ipairs(cart.lines) do
    shares[i] = given[i] > 0 and given_discount(promotion, line, given[i], cart.mode) or 0
  end
  return { shares = shares, used = used, given = given }
end


local function n_for_m(run, promotion)
  local available, lines = run.available, run.cart.lines
  local n, m = promotion.source.n, promotion.source.m
  local units = 0
  for _, i in ipairs(promotion.cheapest) do units = units + available[i] end
  local sets = min(floor(units / n), promotion.limit)
  if sets <= 0 then return nil end
  local given, shares = zeros(#lines), {}
  take(promotion.cheapest, available, given, sets * (n - m))
  local used = effect.copy(given)
  take(promotion.dearest, available, used, sets * m)
  for i = 1, #lines do shares[i] = given[i] * lines[i].price end
  return { shares = shares, used = used, given = given }
end


-- One more set beside what `used` holds already -> units per line, their shelf value; nil when it
-- cannot be completed.
local function form_set(promotion, run, used)
  local counts = effect.copy(used)
  for _, part in ipairs(promotion.parts) do
    if take(part.order, run.available, counts, part.qty) > 0 then return nil end
  end
  local value = 0
  for i, line in ipairs(run.cart.lines) do
    counts[i] = counts[i] - used[i]
    value = value + counts[i] * line.price
  end
  return counts, value
end


-- As long as every line that a set takes from still has as many units, the next set is the same
-- one: so they are counted at once, and a thousand units take no longer than ten.
local function repeats(counts, available, used, limit)
  local times = limit
  for i = 1, #counts do
    if counts[i] > 0 then times = min(times, floor((available[i] - used[i]) / counts[i])) end
  end
  return times
end


local function set_for_price(run, promotion)
  local lines, used = run.cart.lines, zeros(#run.cart.lines)
  local left, saving = promotion.limit, 0
  while left > 0 do
    local counts, value = form_set(promotion, run, used)
    if not counts or value <= promotion.price then break end
    local times = repeats(counts, run.available, used, left)
    for i = 1, #counts do used[i] = used[i] + times * counts[i] end
    saving = saving + times * (value - promotion.price)
    left = left - times
  end
  if saving == 0 then return nil end
  local weights = {}
  for i, line in ipairs(lines) do weights[i] = used[i] * line.price end
  return { shares = money.split(saving, weights), used = used, given = used }
end


local OFFER = {
  buy_x_get_y = buy_x_get_y,
  n_for_m = n_for_m,
  bundle_price = set_for_price,
  multi_price = set_for_price,
}


-- A unit is free when the discount that was really taken covers its whole shelf price.
function multibuy.apply(run, promotion)
  if not effect.terms(run, promotion) then return end
  local offer = OFFER[promotion.multibuy](run, promotion)
  if not offer then
    run.rejected[promotion.id] = "no_effect"
    return
  end
  local shares = effect.take_from_lines(run, promotion, offer.shares)
  if not shares then return end
  for i, line in ipairs(run.cart.lines) do
    local given = offer.given[i]
    run.available[i] = run.available[i] - offer.used[i]
    if given > 0 and shares[i] == given * line.price then run.free[i] = run.free[i] + given end
  end
end


return multibuy
