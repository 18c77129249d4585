-- till/rule/simple - line promotions that need no counting: percent, amount_per_unit, fixed_price.
--
-- Where two of them exclude each other they do so line by line: each line gets the choice that
-- takes most off it. The choice ignores caps and budgets; applying then honours them.
local combine = require "till.rule.combine"
local effect = require "till.rule.effect"
local money = require "till.money"

local simple = {}

local min, max = math.min, math.max


-- A percentage is rounded once for the line, never for the unit.
local function discount(run, promotion, terms, i, rest)
  local line = run.cart.lines[i]
  if terms.rate then
    local base = promotion.original and line.amount or rest
    return min(rest, money.round(base, terms.rate, run.cart.mode))
  end
  local units = line.qty - run.free[i]
  if promotion.type == "amount_per_unit" then
    return min(rest, min(terms.value, line.price) * units)
  end
  return max(0, rest - terms.value * units)
end


-- What a choice takes off line `i`, and how many of its promotions do.
local function try(run, choice, terms, i)
  local rest, effective = run.left[i], 0
  for _, promotion in ipairs(choice) do
    local amount = discount(run, promotion, terms[promotion], i, rest)
    if amount > 0 then
      rest = rest - amount
      effective = effective + 1
      if promotion.stop then break end
    end
  end
  return run.left[i] - rest, effective
end


local function best_of(run, sets, terms, i)
  local best, most, fewest
  for _, set in ipairs(sets) do
    if best and not combine.spend(run.work, #set.promotions) then break end
    local total, effective = try(run, set.promotions, terms, i)
    local better = not best or total > most
    if not better and total == most then
      better = effective < fewest
        or effective == fewest and combine.is_smaller(set.indexes, best.indexes)
    end
    if better then best, most, fewest = set, total, effective end
  end
  return best.promotions
end


local function choose(run, promotions, terms, i)
  local matching = {}
  for _, promotion in ipairs(promotions) do
    if promotion.on[i] then matching[#matching + 1] = promotion end
  end
  local sets = combine.maximal_sets(matching, combine.is_soft, run.work)
  if #sets == 1 then return sets[1].promotions end
  return best_of(run, sets, terms, i)
end


-- -> chosen[promotion][line index] = true
local function choose_all(run, promotions, terms)
  local chosen = {}
  for _, promotion in ipairs(promotions) do chosen[promotion] = {} end
  for i = 1, #run.cart.lines do
    for _, promotion in ipairs(choose(run, promotions, terms, i)) do
      chosen[promotion][i] = true
    end
  end
  return chosen
end


local function apply_one(run, promotion, terms, on, stopped)
  local shares = {}
  for i = 1, #run.cart.lines do
    local hit = on[i] and not stopped[i] and run.left[i] > 0
    shares[i] = hit and discount(run, promotion, terms, i, run.left[i]) or 0
  end
  shares = effect.take_from_lines(run, promotion, shares)
  if not shares or not promotion.stop then return end
  for i = 1, #shares do
    if shares[i] > 0 then stopped[i] = true end
  end
end


function simple.apply(run, promotions)
  local able, terms, stopped = {}, {}, {}
  for _, promotion in ipairs(promotions) do
    terms[promotion] = effect.terms(run, promotion)
    if terms[promotion] then able[#able + 1] = promotion end
  end
  if #able == 0 then return end
  local chosen = choose_all(run, able, terms)
  for _, promotion in ipairs(able) do
    apply_one(run, promotion, terms[promotion], chosen[promotion], stopped)
  end
end


return simple
