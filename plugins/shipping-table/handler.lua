local handler = {}


local function goes_to(option, country)
  if not option.countries or #option.countries == 0 then return true end
  for _, code in ipairs(option.countries) do
    if code == country then return true end
  end
  return false
end


-- What is heavier than the last row says is not sent this way.
local function amount_of(option, about)
  local measure = option.by == "subtotal" and about.subtotal or about.weight_g
  for _, row in ipairs(option.rows) do
    if not row.up_to or measure <= row.up_to then return row.amount end
  end
end


handler["shipping.quote"] = function(config, about)
  local out = {}
  for _, option in ipairs(config.options) do
    if option.currency == about.currency and goes_to(option, about.address.country) then
      local amount = amount_of(option, about)
      if amount then
        out[#out + 1] = { id = option.id, label = option.label, amount = amount,
          tax_class = option.tax_class, min_days = option.min_days, max_days = option.max_days }
      end
    end
  end
  return out
end


return handler
