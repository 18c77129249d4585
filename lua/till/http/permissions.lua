-- till/http/permissions - what a role may do.
--
--   permissions.allows(roles, "orders.write") -> boolean
--   permissions.ROLES                         the roles that are known, with a word on each
--
-- A permission is noun.verb, verb being read or write (or publish, of rules, and
-- approve, of refunds); "any" is what
-- everybody has who is known. A
-- role may also be such a pattern itself
-- ("orders.read", "orders.*", "*"), for keys of integrations that need little.
local permissions = {}

permissions.ROLES = {
  owner = { doc = "Everything.", "*" },
  admin = { doc = "Everything.", "*" },
  manager = { doc = "The trade, not the people nor the machine.", "products.*", "categories.*",
    "inventory.*", "orders.*", "payments.*", "refunds.*", "promotions.*", "customers.*",
    "prices.*", "rules.*", "webhooks.*", "sagas.*", "jobs.read", "alerts.read", "generations.read",
    "audit.read" },
  developer = { doc = "The code of the shop and merchants' rules.", "generations.*", "rules.*",
    "audit.read", "jobs.read", "alerts.read", "sagas.read" },
  catalog = { doc = "Products, categories, prices and stock.", "products.*", "categories.*",
    "prices.*", "inventory.*" },
  stock = { doc = "Stock alone.", "inventory.*", "products.read", "alerts.read" },
  support = { doc = "Orders, refunds and customers.", "orders.*", "refunds.read", "refunds.write",
    "payments.read", "customers.*", "products.read", "inventory.read" },
  viewer = { doc = "Reads everything.", "*.read" },
}


local function fits(pattern, permission)
  if pattern == "*" or pattern == permission then return true end
  local noun, verb = pattern:match("^([^.]*)%.([^.]*)$")
  if not noun then return false end
  local wanted_noun, wanted_verb = permission:match("^([^.]*)%.([^.]*)$")
  return (noun == "*" or noun == wanted_noun) and (verb == "*" or verb == wanted_verb)
end


local function role_allows(role, permission)
  local granted = permissions.ROLES[role]
  if not granted then return role:find("[.*]") ~= nil and fits(role, permission) end
  for _, pattern in ipairs(granted) do
    if fits(pattern, permission) then return true end
  end
  return false
end


function permissions.allows(roles, permission)
  if permission == "any" then return true end
  for _, role in ipairs(roles or {}) do
    if role_allows(role, permission) then return true end
  end
  return false
end


return permissions
