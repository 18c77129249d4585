-- support/provider - support.stock with a provider that can, and says, what a spec wants.
--
--   provider.with(fn, can) -> a test      fn(shop, raw, say, asked)
--                     say[hook] is what it answers instead: a table, or a function of what it is
--                     asked with that may give nil; asked[hook] counts
--                     can(provider, has) -> what it can do, `has` being what it declares: a copy
local with_shop = require "tests.support.stock"

local provider = {}


local function answering(plugin, say, asked)
  return function(name, hook, about, ...)
    asked[hook] = (asked[hook] or 0) + 1
    local answer = say[hook]
    if type(answer) == "function" then answer = answer(about) end
    if answer then return answer end
    return plugin(name, hook, about, ...)
  end
end


function provider.with(fn, can)
  return with_shop(function(shop, raw)
    local dispatch, say, asked = raw.require "till.plugin.dispatch", {}, {}
    local capabilities = raw.require "till.flow.capabilities"
    local plugin, waits, of = dispatch.plugin, dispatch.waits, capabilities.of
    dispatch.waits = function() return true end
    dispatch.plugin = answering(plugin, say, asked)
    capabilities.of = function(name)
      local has = {}
      for what, value in pairs(of(name)) do has[what] = value end
      return can(name, has)
    end
    local good, why = pcall(fn, shop, raw, say, asked)
    dispatch.plugin, dispatch.waits, capabilities.of = plugin, waits, of
    if not good then error(why, 0) end
  end)
end


return provider
