-- till/http/refund_limits - how much of the shop's money each role may give back by itself.
--
--   of(roles) -> fn(currency) -> minor units | nil: without limit     | nil, err
--   get() -> { role = { currency = minor units } }      set(limits [, tx])
--
-- Setting `refunds.limits`. A currency that a role does not name is under "*" of it, and where
-- that is not there either, under no limit. Of several roles that may give money back the highest
-- limit counts; a role without an entry has none.
local permissions = require "till.http.permissions"
local settings = require "till.store.settings"

local limits = {}

local DEFAULT = { support = { ["*"] = 10000 } }


function limits.get()
  local found, e = settings.get("refunds.limits")
  if e then return nil, e end
  return found or DEFAULT
end


function limits.set(value, tx)
  return settings.set("refunds.limits", value, tx)
end


local function gives_back(role)
  return permissions.allows({ role }, "refunds.write")
    or permissions.allows({ role }, "refunds.approve")
    or permissions.allows({ role }, "orders.write")
end


function limits.of(roles)
  local all, e = limits.get()
  if not all then return nil, e end
  return function(currency)
    local most = 0
    for _, role in ipairs(roles or {}) do
      if gives_back(role) then
        local own = all[role] or {}
        local limit = own[currency] or own["*"]
        if not limit then return nil end
        most = math.max(most, limit)
      end
    end
    return most
  end
end


return limits
