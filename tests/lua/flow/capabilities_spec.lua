local t = require "till.test"
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"


-- A provider that answers so, for one test.
local function with(answer, fn)
  return function()
    local plugins = dispatch.plugins()
    dispatch.setup { { name = "payment-x", hooks = { "payment.capabilities" }, config = {},
      handlers = { ["payment.capabilities"] = function() return answer end } } }
    local good, why = pcall(function()
      capabilities.check()
      fn()
    end)
    dispatch.setup(plugins)
    capabilities.check()
    if not good then error(why, 0) end
  end
end


local MMG = { currencies = { "GYD" }, countries = { "GY" }, min_amount = { GYD = 10000 },
  max_amount = { GYD = 50000000 }, hours = { from = "08:00", to = "18:00", zone = "-04:00" },
  partial_refund = false }
local NOON = 1796054400000 -- 2026-11-30T16:00Z, which is noon in Georgetown
local HOUR = 3600000


local function about(more)
  local out = { currency = "GYD", country = "GY", amount = 20000 }
  for name, value in pairs(more) do out[name] = value end
  return out
end


t.describe("capabilities of a payment provider", function()
  t.table({
    { why = "what fits", ok = true, about = {} },
    { why = "another currency", about = { currency = "EUR" }, says = "x does not take EUR" },
    { why = "another country", about = { country = "FR" }, says = "x is not offered in FR" },
    { why = "too little", about = { amount = 9999 }, says = "as small as this" },
    { why = "the least", ok = true, about = { amount = 10000 } },
    { why = "the most", ok = true, about = { amount = 50000000 } },
    { why = "too much", about = { amount = 50000001 }, says = "as large as this" },
    { why = "the first minute", ok = true, about = {}, at = -4 * HOUR },
    { why = "before it opens", about = {}, at = -4 * HOUR - 1, says = "from 08:00 to 18:00" },
    { why = "when it closes", about = {}, at = 6 * HOUR, says = "from 08:00 to 18:00" },
  }, function(case)
    with(MMG, function()
      local ok, why = capabilities.offers("x", about(case.about), NOON + (case.at or 0))
      t.equal(ok, case.ok)
      if case.says then t.ok(why:find(case.says, 1, true), why) end
    end)()
  end)

  t.it("are open through midnight", with({ hours = { from = "22:00", to = "02:00",
    zone = "+00:00" } }, function()
    local function is_open(hour)
      return (capabilities.offers("x", about {}, NOON - 16 * HOUR + hour * HOUR)) or false
    end
    t.same({ is_open(21), is_open(22), is_open(1), is_open(2) }, { false, true, true, false })
  end))

  t.it("are as before where nothing is said", with(nil, function()
    t.ok(capabilities.can("x", "void") and capabilities.can("x", "partial_refund"))
    t.ok(not capabilities.can("x", "multiple_captures"))
    t.ok(capabilities.offers("x", about {}))
  end))

  t.it("say no where the provider does", with(MMG, function()
    t.ok(not capabilities.can("x", "partial_refund"))
  end))

  t.table({
    { why = "no table", answer = "x", says = "it must answer a table" },
    { why = "a word that there is not", answer = { viod = true }, says = "no capability viod" },
    { why = "no list", answer = { currencies = "GBP" }, says = "currencies must be a list of" },
    { why = "an empty list", answer = { countries = {} }, says = "countries must be a list of" },
    { why = "parts of units", answer = { min_amount = { GBP = 0.5 } },
      says = "min_amount must be" },
    { why = "hours that are none", answer = { hours = { from = "8", to = "24:00", zone = "Z" } },
      says = "hours must be" },
    { why = "a yes that is none", answer = { void = 1 }, says = "void must be true or false" },
    { why = "methods that are kept and never forgotten", answer = { saved_methods = true },
      says = "saved_methods needs the hook payment.forget" },
    { why = "limits the wrong way round",
      answer = { min_amount = { GBP = 2 }, max_amount = { GBP = 1 } }, says = "min_amount.GBP" },
  }, function(case)
    local e = t.throws(with(case.answer, function() end)) -- as a generation is refused
    t.ok(tostring(e):find(case.says, 1, true), tostring(e))
  end)
end)
