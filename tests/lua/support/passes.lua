-- support/passes - a small shop whose stock is compared by passes.
--
--   local passes = require "tests.support.passes"
--   t.it("…", passes.with_shop(function(shop, raw) … end))
--   shop.alerts(kind [, state]) -> open ones      shop.told(kind) -> how many events of it
--   passes.pass(raw [, repairs]) -> all of a pass, what it found
--   passes.exec(raw, text, ...)         a statement that must do
local live = require "tests.support.live"
local make_shop = require "tests.support.shop"

local passes = {}


function passes.with_shop(fn)
  return live.test(function(raw)
    local shop = make_shop(raw)
    function shop.alerts(kind, state)
      return shop.must(raw.admin("GET", "/admin/v1/alerts?kind=" .. kind .. "&state="
        .. (state or "open"))).data
    end
    function shop.told(kind) return shop.count("outbox", "type = '" .. kind .. "'") end
    fn(shop, raw)
  end)
end


function passes.pass(raw, repairs)
  local checks = raw.require "till.store.stock_checks"
  local check_id = assert(checks.begin(repairs ~= false, "spec"))
  local done = assert(raw.require("till.flow.reconcile").run(check_id))
  return done, assert(checks.findings { check_id = check_id, limit = 100 })
end


function passes.exec(raw, ...)
  return assert(raw.sql.exec(...))
end


return passes
