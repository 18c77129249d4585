-- till/test/plugin - what the spec of a plugin needs; reached as t.plugin, t.rejects ...
--
--   t.plugin("promo-bundle", options, function(plugin)
--     t.it("says nothing while one is missing", function()
--       t.equal(plugin:call("promo.evaluate", t.cart { { sku = "tea", unit_price = 800 } }), nil)
--     end)
--   end)
--
--   plugin(name, options, fn)       a group; the plugin is loaded as the server loads it: manifest,
--                                   options, sandbox, hooks. fn(plugin)
--     plugin:call(hook, ...)        on the terms of the hook -> value | nil, err
--     plugin:call_within(ms, hook, ...)   with that budget instead of the hook's
--     plugin:with(options)          -> the same plugin with other options
--     plugin.config                 its options with their defaults
--   rejects(plugin, options, message)   they must be refused, in these very words
--   money("EUR") -> function(amount) -> minor units: EUR(8.01) is 801
--   cart{ { sku=, unit_price= [, quantity=, tags=] }, ..., currency= } -> a cart as hooks get it
--   discount(terms, cart)           what promotion terms come to on that cart
local exact_money = require "till.money"
local dispatch = require "till.plugin.dispatch"
local HOOKS = require "till.plugin.hooks"
local loader = require "till.plugin.loader"
local price = require "till.rule.price"
local test = require "till.test"

local plugin = {}
plugin.__index = plugin

local kit = {}


function plugin:call(hook, ...)
  return dispatch.call(self.loaded, hook, ...)
end


function plugin:call_within(ms, hook, ...)
  local terms = HOOKS[hook]
  local budget = terms.budget_ms
  terms.budget_ms = ms
  local value, failure = dispatch.call(self.loaded, hook, ...)
  terms.budget_ms = budget
  return value, failure
end


local function load(name, options)
  local loaded = loader.one(name, options)
  return setmetatable({ name = name, loaded = loaded, config = loaded.config }, plugin)
end


function plugin:with(options)
  return load(self.name, options)
end


-- Why it does not load is its author's; how we came there is not.
function kit.plugin(name, options, fn)
  test.describe(name, function()
    local good, subject = pcall(load, name, options)
    if not good then test.fail(subject) end
    fn(subject)
  end)
end


function kit.rejects(subject, options, message)
  local good, failure = pcall(loader.one, subject.name, options)
  if good then test.fail("the options were taken") end
  local prefix = "plugins." .. subject.name .. ": "
  local text = tostring(failure)
  if text:sub(1, #prefix) == prefix then text = text:sub(#prefix + 1) end
  test.equal(text, message)
end


function kit.money(currency)
  local exponent = exact_money.exponent(currency)
  if not exponent then error("no such currency: " .. tostring(currency), 2) end
  return function(amount)
    local minor = math.floor(amount * 10 ^ exponent + 0.5)
    if math.abs(minor - amount * 10 ^ exponent) > 1e-6 then
      error(("%s has no %.10g"):format(currency, amount), 2)
    end
    return minor
  end
end


function kit.cart(given)
  local out = { currency = given.currency or "EUR", lines = {} }
  for i, line in ipairs(given) do
    out.lines[i] = { id = line.id or i, sku = line.sku, unit_price = line.unit_price,
      quantity = line.quantity or 1, tags = line.tags or {} }
  end
  return out
end


function kit.discount(terms, cart)
  local promotions, lines = {}, {}
  for i, term in ipairs(terms or {}) do
    local p = {}
    for key, value in pairs(term) do p[key] = value end
    p.id, p.label, promotions[i] = tostring(i), nil, p
  end
  for i, line in ipairs(cart.lines) do
    lines[i] = { id = tostring(line.id), sku = line.sku, qty = line.quantity, tags = line.tags,
      unit_price = line.unit_price }
  end
  local result = price.calculate { currency = cart.currency,
    exponent = exact_money.exponent(cart.currency), prices_include_tax = true, tax_rates = {},
    lines = lines, promotions = promotions,
    rounding = { mode = "half_up", tax_level = "line" } }
  if result.status ~= "ok" then error(result.error, 2) end
  return result.order.discount_total
end


return kit
