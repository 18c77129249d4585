local handler = {}


local function goes_to(option, country)
  if not option.countries or #option.countries == 0 then return true end
  for _, code in ipairs(option.countries) do
    if code == country then return true end
  end
  return false
end


local function amount_of(option, about)
  local from = option.free_from and option.free_from[about.currency]
  if from and about.subtotal >= from then return 0 end
  return option.amounts[about.currency]
end


handler["shipping.quote"] = function(config, about)
  local out = {}
  for _, option in ipairs(config.options) do
    local amount = amount_of(option, about)
    if amount and goes_to(option, about.address.country) then
      out[#out + 1] = { id = option.id, label = option.label, amount = amount,
        tax_class = option.tax_class, min_days = option.min_days, max_days = option.max_days }
    end
  end
  return out
end


return handler
