local handler = {}


local function conditions_of(config, cart)
  local out = {}
  if config.min_subtotal then
    out.min_subtotal = config.min_subtotal[cart.currency]
    if not out.min_subtotal then return nil end
  end
  if config.countries and #config.countries > 0 then out.regions = config.countries end
  return out
end


handler["promo.evaluate"] = function(config, cart)
  local conditions = conditions_of(config, cart)
  if not conditions then return nil end
  local filter
  if config.skus or config.tags then filter = { skus = config.skus, tags = config.tags } end
  return { { id = "percent", level = config.level, type = "percent", value = config.percent,
    filter = filter, conditions = next(conditions) and conditions or nil,
    label = config.label } }
end


return handler
