--- Fills an empty shop once: what `moontill dev` calls unless told --no-demo.
local products = require "till.flow.import.products"
local orders = require "till.flow.import.orders"
local file = require "till.prim.file"
local promotions = require "till.store.promotions"
local say = require "till.cli.say"
local report_of = require "till.flow.import.report"
local settings = require "till.store.settings"
local source = require "till.flow.import.source"
local sql = require "till.prim.sql"
local store = require "till.store.import"
local term = require "till.prim.term"


local demo = {}


local HELP = "moontill demo [--var DIR]: fills an empty shop with the demo catalogue " ..
  "and its orders\n"


-- The whole year where it lies beside the checkout, else the slice that the repository carries.
local function data_file()
  local root = term.env("MOONTILL_ROOT")
  local whole = root .. "/../shared/data/online-retail.csv.xz"
  return file.stat(whole) and whole or root .. "/sql/demo/online-retail-slice.csv.xz"
end


local function import(what, flow, path)
  local src, failure = source.open(path, function(share) term.progress(what, share) end)
  local report, ok = report_of.new(), nil
  if src then
    ok, failure = flow.run(src, report)
  end
  if not ok then
    say.refused("demo", failure)
  end
  return ok and report
end


-- A code to try the till with.
local function welcome()
  if promotions.find_code("WELCOME10") then
    return true
  end
  return sql.transaction(function(tx)
    return promotions.create(tx, { code = "WELCOME10", name = "10 % off the first order",
      status = "active", terms = { level = "order", type = "percent", value = "10" } })
  end)
end


--- @return the exit code
function demo.main(option)
  if option == "--help" then
    term.write(HELP)
    return 0
  end
  local empty, failure = store.shop_is_empty()
  if empty == nil then
    return say.refused("demo", failure)
  elseif not empty and settings.get("demo") ~= "begun" then
    return 0
  end
  settings.set("demo", "begun") -- one that is killed goes on at the next start
  local path = data_file()
  local of_products = import("products", products, path)
  local of_orders = of_products and import("orders", orders, path)
  if not of_orders or not welcome() then
    return 1
  end
  settings.set("demo", "done")
  term.err(string.format("  %-12s %d products and %d orders from %s\n", "demo shop",
    of_products.counts["products added"] or 0, of_orders.counts["orders added"] or 0,
    path:match("[^/]+$")))
  return 0
end


return demo
