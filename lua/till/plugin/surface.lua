-- till/plugin/surface - all of the library that a plugin may use: the promise of api 1.
--
-- The one place where it stands. The sandbox gives a plugin these functions and no others; the list
-- in docs/plugins.md and the type files in lua/types/ are written from it (scripts/lint-surface
-- --write), and tests/lua/plugin/surface_spec.lua holds it against the modules themselves.
--
--   { module = "till.x", doc =, needs = a capability or nil, functions = { entry, ... },
--     values = { { name, type, doc }, ... }, methods = { [class] = { entry, ... } } }
--
-- An entry is { name, parameters, results, doc [, deprecated = "since, what instead"] }.
-- Parameters are "name: type", optional ones "name?: type", separated by ";", as LuaLS has them.
-- Results are types with a name, separated by ";"; a nil in the first goes with an error in the
-- second. Times are milliseconds and amounts are minor units, unless it says otherwise.
local surface = {}

surface.API = 1
surface.OLDEST = 1 -- plugins of this api and later ones up to API are taken

surface.modules, surface.by_name = {}, {}

for _, part in ipairs { "surface_util", "surface_prim" } do
  for _, module in ipairs(require("till.plugin." .. part)) do
    table.insert(surface.modules, module)
    surface.by_name[module.module] = module
  end
end

return surface
