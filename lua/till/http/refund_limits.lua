-- till/http/refund_limits - how much of the shop's money each role may give back by itself.
--
--   of(roles) -> fn(currency) -> minor units | nil: without limit     | nil, err
--   beyond(roles, own) -> currency or "*" in which `roles` may give back more by themselves than
--                         `own` may | false | nil, err
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


local function limit_of(all, roles)
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


function limits.of(roles)
  local all, e = limits.get()
  if not all then return nil, e end
  return limit_of(all, roles)
end


-- Currencies that no limit names are all alike: "*".
local function currencies_of(all)
  local seen, out = { ["*"] = true }, { "*" }
  for _, own in pairs(all) do
    for currency in pairs(own) do
      if not seen[currency] then out[#out + 1], seen[currency] = currency, true end
    end
  end
  table.sort(out)
  return out
end


function limits.beyond(roles, own)
  local all, e = limits.get()
  if not all then return nil, e end
  local wanted, may = limit_of(all, roles), limit_of(all, own)
  for _, currency in ipairs(currencies_of(all)) do
    local most, top = wanted(currency), may(currency)
    if top and (not most or most > top) then return currency end
  end
  return false
end


return limits
