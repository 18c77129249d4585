-- till/util/copy - a value of one's own.
--
--   copy.deep(value) -> the same, with tables of its own down to the last; metatables are kept.
--                       Trees alone: a table within itself would not end
local copy = {}


function copy.deep(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for key, inner in next, value do out[key] = copy.deep(inner) end
  return setmetatable(out, getmetatable(value))
end


return copy
