--- `moontill import products FILE` and `moontill import orders FILE`.
local json = require "till.prim.json"
local say = require "till.cli.say"
local report_of = require "till.flow.import.report"
local source = require "till.flow.import.source"
local term = require "till.prim.term"


local import = {}


local HELP = [[
moontill import products FILE    the catalogue out of a CSV of transactions
moontill import orders FILE      the history of orders out of the same file

FILE is CSV (RFC 4180, UTF-8) whose first row names InvoiceNo, StockCode,
Description, Quantity, InvoiceDate, UnitPrice, CustomerID and Country; it may
be packed with xz. What is in the shop already is left as it is: importing
twice changes nothing.

  --on-error skip-rows    leave out rows that cannot be read (the default)
  --on-error reject-all   change nothing if there is one such row
  --report FILE           every row that was left out, as JSON
  --json                  the report for machines, on standard output
  --var DIR               the shop of `moontill dev --var DIR`
]]

local KINDS = {
  products = { module = "till.flow.import.products",
    done = { "products added", "variants added", "products already there" } },
  orders = { module = "till.flow.import.orders",
    done = { "orders added", "order lines added", "customers added", "orders already there" } },
}

local POLICIES = { ["skip-rows"] = true, ["reject-all"] = true }


local function parse(...)
  local options, words = { on_error = "skip-rows" }, {}
  local arguments, i = { ... }, 1
  while arguments[i] do
    local name, value = arguments[i]:match("^(%-%-[%a%-]+)=?(.*)$")
    if name == "--on-error" or name == "--report" then
      if value == "" then
        i = i + 1
        value = arguments[i]
      end
      options[name == "--report" and "report" or "on_error"] = value or ""
    elseif name == "--json" or name == "--help" then
      options[name:sub(3)] = true
    elseif name then
      return nil, name .. ": there is no such option"
    else
      words[#words + 1] = arguments[i]
    end
    i = i + 1
  end
  options.kind, options.path = words[1], words[2]
  return options, #words > 2 and words[3] .. ": one FILE at a time" or nil
end


local function misuse(text)
  term.err("moontill import: " .. text .. "; see moontill import --help\n")
  return 2
end


local function progress(label)
  return function(share) term.progress(label, share) end
end


local function run(options, report)
  if options.on_error == "reject-all" then
    local checked, failure = source.check(options.path, report, progress("checking"))
    if not checked then
      return nil, failure
    end
    if report.bad_rows > 0 then
      return false
    end
    report.rows = 0
  end
  local src, failure = source.open(options.path, progress("reading"))
  if not src then
    return nil, failure
  end
  return require(KINDS[options.kind].module).run(src, report, progress("writing"))
end


local function show(options, report, rejected)
  if options.report then
    require("till.prim.file").write(options.report, json.encode(report:table()) .. "\n", 420)
  end
  if options.json then
    local result = report:table()
    result.ok = not rejected
    term.write(json.encode(result) .. "\n")
    return
  end
  term.write(string.format("%s %s: %d rows read%s\n", options.kind, options.path, report.rows,
    rejected and "; nothing was changed, for some cannot be read" or ""))
  term.write(table.concat(report:lines(rejected and {} or KINDS[options.kind].done), "\n") .. "\n")
end


--- @return the exit code
function import.main(...)
  local options, wrong = parse(...)
  if options and options.help then
    term.write(HELP)
    return 0
  elseif wrong then
    return misuse(wrong)
  elseif not KINDS[options.kind or ""] then
    return misuse("`products` or `orders` comes first")
  elseif not options.path then
    return misuse("the FILE is missing")
  elseif not POLICIES[options.on_error] then
    return misuse("--on-error takes skip-rows or reject-all")
  end
  local report = report_of.new()
  local ok, failure = run(options, report)
  if ok == nil then
    return say.refused("import", failure)
  end
  show(options, report, ok == false)
  return ok and 0 or 1
end


return import
