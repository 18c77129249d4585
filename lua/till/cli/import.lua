--- `moontill import products FILE` and `moontill import orders FILE`.
local audit = require "till.store.audit"
local json = require "till.prim.json"
local say = require "till.cli.say"
local report_of = require "till.flow.import.report"
local importing = require "till.flow.import.run"
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

local DONE = {
  products = { "products added", "variants added", "products already there" },
  orders = { "orders added", "order lines added", "customers added", "orders already there" },
}


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
  term.write(table.concat(report:lines(rejected and {} or DONE[options.kind]), "\n") .. "\n")
end


-- As the admin API does it.
local function note(kind, report)
  local told = report:table()
  local ok, e = audit.add { actor = "command", action = "import." .. kind, subject = kind,
    detail = { rows = told.rows, done = told.done } }
  if not ok then term.err("moontill import: the audit has no entry: " .. tostring(e) .. "\n") end
end


--- @return the exit code
function import.main(...)
  local options, wrong = parse(...)
  if options and options.help then
    term.write(HELP)
    return 0
  elseif wrong then
    return misuse(wrong)
  elseif not DONE[options.kind or ""] then
    return misuse("`products` or `orders` comes first")
  elseif not options.path then
    return misuse("the FILE is missing")
  elseif not importing.POLICIES[options.on_error] then
    return misuse("--on-error takes skip-rows or reject-all")
  end
  local report = report_of.new()
  local function open(label)
    return source.open(options.path, progress(label))
  end
  local ok, failure = importing.run(options.kind, open, options.on_error, report,
    progress("writing"))
  if ok or ok == nil and report:has_done() then note(options.kind, report) end
  if ok == nil then
    return say.refused("import", failure)
  end
  show(options, report, ok == false)
  return ok and 0 or 1
end


return import
