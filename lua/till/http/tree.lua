-- till/http/tree - finds the route of a path: a tree by segments, fixed ones before parameters.
--
--   tree:add(route)             throws when method and shape are taken, naming both sources
--   tree:find(segments)         -> methods { GET = route, ... }, values in the order of the path
--
-- "/carts/{id}" and "/carts/{cart}" are the same shape; each route keeps its own names.
local tree = {}
tree.__index = tree


function tree.new()
  return setmetatable({ root = { fixed = {} } }, tree)
end


local function step(node, segment)
  if segment:find("^{") then
    node.any = node.any or { fixed = {} }
    return node.any
  end
  node.fixed[segment] = node.fixed[segment] or { fixed = {} }
  return node.fixed[segment]
end


function tree:add(route)
  local node = self.root
  for segment in route.path:gmatch("/([^/]*)") do node = step(node, segment) end
  node.methods = node.methods or {}
  local other = node.methods[route.method]
  if other then
    error(("%s: route %s %s is there already, from %s (%s)"):format(tostring(route.source),
      route.method, route.path, tostring(other.source), other.path), 0)
  end
  node.methods[route.method] = route
end


-- A fixed segment that leads nowhere gives way to the parameter beside it.
local function walk(node, segments, i, values)
  local segment = segments[i]
  if not segment then return node.methods end
  local next_node = node.fixed[segment]
  if next_node then
    local methods = walk(next_node, segments, i + 1, values)
    if methods then return methods end
  end
  if node.any and segment ~= "" then
    local n = #values + 1
    values[n] = segment
    local methods = walk(node.any, segments, i + 1, values)
    if methods then return methods end
    values[n] = nil
  end
end


function tree:find(segments)
  local values = {}
  return walk(self.root, segments, 1, values), values
end


return tree
