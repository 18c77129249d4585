-- till/http/render - how values of the trade look in JSON.
--
--   render.money(amount, currency) -> { amount =, currency = } | nil without an amount
--   render.moneys(object, currency, fields) -> a copy in which the named fields are money
--   render.list(rows) -> a table that is encoded as a list also when it is empty
local json = require "till.prim.json"

local render = {}


function render.money(amount, currency)
  if amount == nil then return nil end
  return { amount = amount, currency = currency }
end


function render.moneys(object, currency, fields)
  local out = {}
  for key, value in pairs(object) do out[key] = value end
  for _, field in ipairs(fields) do out[field] = render.money(object[field], currency) end
  return out
end


function render.list(rows)
  return json.array(rows)
end


return render
