--- One import, from the command line or over HTTP.
local catalog = require "till.flow.catalog"
local source = require "till.flow.import.source"


local run = {}


run.KINDS = { products = "till.flow.import.products", orders = "till.flow.import.orders" }
run.POLICIES = { ["skip-rows"] = true, ["reject-all"] = true }


--- @param open  function(label) -> source | nil, err; called once for each reading of the file
-- @param on_error  "skip-rows": rows that cannot be read are left out; "reject-all": one of them
--   and nothing is changed
-- @param progress  function(share) or nil, called while rows are written
-- @return true; false where `reject-all` refused, the report says why; nil and an error
function run.run(kind, open, on_error, report, progress)
  if on_error == "reject-all" then
    local first, failure = open("checking")
    local checked = first
    if first then checked, failure = first:read(report, source.take) end
    if not checked then return nil, failure end
    if report.bad_rows > 0 then return false end
    report.rows = 0
  end
  local src, failure = open("reading")
  if not src then return nil, failure end
  local done
  done, failure = require(run.KINDS[kind]).run(src, report, progress)
  catalog.forget_all() -- also where only a part came in
  return done, failure
end


return run
