local handler = {}


local function has(list, value)
  if not list or #list == 0 then return true end
  for _, entry in ipairs(list) do
    if entry == value then return true end
  end
  return false
end


handler["payment.describe"] = function(config, about)
  if not has(config.currencies, about.currency) or not has(config.countries, about.country) then
    return nil
  end
  return { label = config.label, offline = true }
end


handler["payment.capabilities"] = function()
  return { partial_capture = true, multiple_captures = false, partial_refund = true, void = true,
    saved_methods = false, trusts_callbacks = false }
end


-- Nobody is asked, so the answer is always known: the order waits until staff see the money.
local function always(outcome)
  return function(_, payment)
    return { outcome = outcome, provider_ref = payment.payment_id }
  end
end


handler["payment.authorize"] = always("authorized")
handler["payment.lookup"] = always("authorized")
handler["payment.capture"] = always("captured")
handler["payment.void"] = always("voided")
handler["payment.refund"] = always("refunded")


return handler
