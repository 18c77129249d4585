-- support/plugin - what the specs of shipped plugins need, run from the top of the checkout.
--
--   plugin.handler(name)          what handler.lua returns, loaded as the sandbox loads it
--   plugin.config(name, options)  options with the defaults of plugin.lua
--   plugin.refusal(name, options) the sentence with which they are refused
--   plugin.discount(terms, lines) what promotion terms come to on these lines
--   plugin.with({ sql =, sleep = }, fn)   over stand-ins for what waits
local prim = dofile("tests/lua/support/prim.lua")
local resolve = require("till.plugin.config").resolve

local plugin = {}

local inside


local function path_of(name, file)
  return ("plugins/%s/%s"):format(name, file)
end


function plugin.handler(name)
  if inside then return dofile(path_of(name, "handler.lua")) end
  local out
  plugin.with({}, function() out = dofile(path_of(name, "handler.lua")) end)
  return out
end


function plugin.config(name, options)
  local out, why = resolve(dofile(path_of(name, "plugin.lua")).config, options)
  if not out then error(why, 2) end
  return out
end


function plugin.refusal(name, options)
  local out, why = resolve(dofile(path_of(name, "plugin.lua")).config, options)
  if out then error("the options were taken", 2) end
  return why
end


function plugin.discount(terms, lines)
  local promotions, given = {}, {}
  for i, term in ipairs(terms or {}) do
    local p = {}
    for key, value in pairs(term) do p[key] = value end
    p.id, p.label, promotions[i] = tostring(i), nil, p
  end
  for i, line in ipairs(lines) do
    given[i] = { id = line.id, sku = line.sku, qty = line.quantity, tags = line.tags,
      unit_price = line.unit_price }
  end
  local result = require("till.rule.price").calculate { currency = "EUR", exponent = 2,
    prices_include_tax = true, tax_rates = {}, lines = given, promotions = promotions,
    rounding = { mode = "half_up", tax_level = "line" } }
  if result.status ~= "ok" then error(result.error, 2) end
  return result.order.discount_total
end


function plugin.with(stand_ins, fn)
  local extra = { ["till.prim.time"] = { sleep = stand_ins.sleep, now_ms = os.time } }
  if stand_ins.sql then extra["till.prim.sql"] = stand_ins.sql end
  prim.with(extra, function(fakes)
    inside = true
    local good, failure = pcall(fn, fakes)
    inside = false
    if not good then error(failure, 0) end
  end)
end


return plugin
