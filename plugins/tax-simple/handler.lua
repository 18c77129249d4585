local handler = {}


-- "2017-02-01" is midnight UTC to the rules of price, which compare full times.
local function at(day)
  if not day then return nil end
  return #day == 10 and day .. "T00:00:00Z" or day
end


local kept = setmetatable({}, { __mode = "k" }) -- a country's options -> its rates


local function rates_of(country)
  if kept[country] then return kept[country] end
  local out = {}
  for class, components in pairs(country.classes) do
    local list = {}
    for i, c in ipairs(components) do
      list[i] = { code = c.code, rate = c.rate, compound = c.compound, from = at(c.from),
        to = at(c.to) }
    end
    out[class] = list
  end
  kept[country] = out
  return out
end


handler["tax.calculate"] = function(config, about)
  local country = config.countries[about.country]
  if not country then
    return { prices_include_tax = config.prices_include_tax, tax_rates = {} }
  end
  return {
    prices_include_tax = country.prices_include_tax, tax_rates = rates_of(country),
    tax_level = country.tax_level, shipping_tax_class = country.shipping_tax_class,
  }
end


return handler
