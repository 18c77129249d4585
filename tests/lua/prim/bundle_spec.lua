local t = require "till.test"
local bundle = require "till.prim.bundle"


t.describe("till.prim.bundle", function()
  t.it("holds the generation's files, and no spec", function()
    t.ok(bundle.read("plugins/promo-bundle/plugin.lua"):find("promo-bundle", 1, true))
    t.same(bundle.list("plugins/promo-bundle/"),
      { "plugins/promo-bundle/handler.lua", "plugins/promo-bundle/plugin.lua" })
    t.equal(bundle.read("plugins/promo-bundle/README.md"), nil)
    t.equal(bundle.read("plugins/../plugins/promo-bundle/plugin.lua"), nil)
    t.same(bundle.list("nowhere/"), {})
  end)

  t.it("lists in order", function()
    local paths = bundle.list("lua/till/prim/")
    t.ok(#paths > 10)
    for i = 2, #paths do t.ok(paths[i - 1] < paths[i], paths[i]) end
  end)

  t.it("compiles a file without running it, over the globals that it is given", function()
    local asked = {}
    local chunk = bundle.load("plugins/promo-bundle/handler.lua", setmetatable({}, {
      __index = function(_, name)
        asked[#asked + 1] = name
        return function() return {} end
      end,
    }))
    t.same(asked, {})
    t.equal(type(chunk()["promo.evaluate"]), "function")
    t.same(asked, { "require", "require" })
  end)

  t.it("says that a file is not there", function()
    local chunk, why = bundle.load("plugins/none/handler.lua")
    t.equal(chunk, nil)
    t.equal(why, "there is no file plugins/none/handler.lua")
  end)
end)
