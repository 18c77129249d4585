-- till/cli/doctor - `moontill doctor`: findings about the machine, the configuration, the server,
-- the database and Redis, each with what to do. Asks and changes nothing.
--
-- core/serve/doctor.c gathers what only C can see and hands it over as JSON. Each module of
-- till.cli.doctor.* is a list of checks: fn(report, facts). A check that throws is a finding too.
--
--   report.ok(check, finding)   report.warn(check, finding, advice)   report.fail(…)
local conf = require "till.prim.conf"
local json = require "till.prim.json"
local term = require "till.prim.term"

local doctor = {}

local GROUPS = { "server", "config", "machine", "certificate", "database", "redis", "jobs", "box",
  "payments" }
local WIDTH = 96


local function new_report()
  local report = { findings = {}, counts = { ok = 0, warn = 0, fail = 0 } }
  for level in pairs(report.counts) do
    report[level] = function(check, finding, advice)
      report.counts[level] = report.counts[level] + 1
      report.findings[#report.findings + 1] = { check = check, level = level, finding = finding,
        advice = advice }
    end
  end
  return report
end


local function wrapped(text, indent)
  local out, line = {}, ""
  for word in text:gmatch("%S+") do
    if #line + #word + 1 > WIDTH - indent and line ~= "" then
      out[#out + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  out[#out + 1] = line
  return table.concat(out, "\n" .. (" "):rep(indent))
end


local function print_text(report)
  for _, f in ipairs(report.findings) do
    term.write(("%-5s %-22s %s\n"):format(f.level, f.check, wrapped(f.finding, 29)))
    if f.advice then
      term.write((" "):rep(29) .. "-> " .. wrapped(f.advice, 32) .. "\n")
    end
  end
  local n = report.counts
  term.write(("%d ok, %d warning%s, %d failure%s\n"):format(n.ok, n.warn, n.warn == 1 and "" or "s",
    n.fail, n.fail == 1 and "" or "s"))
end


local function examine(report, facts)
  for _, group in ipairs(GROUPS) do
    for _, check in ipairs(require("till.cli.doctor." .. group)) do
      local good, why = xpcall(check, function(e) return debug.traceback(tostring(e), 2) end,
        report, facts)
      if not good then
        report.fail(group, "could not be examined: " .. why:match("^[^\n]*"),
          "This is a fault of moontill doctor; please report it.")
      end
    end
  end
end


function doctor.main(...)
  local args = { ... }
  local facts = json.decode(args[1] or "")
  if not facts then error("doctor: started without facts", 0) end
  local report = new_report()
  facts.conf = conf
  examine(report, facts)
  if args[2] == "--json" then
    local n = report.counts
    term.write(json.encode({ findings = json.array(report.findings), ok = n.ok, warn = n.warn,
      fail = n.fail }) .. "\n")
  else
    print_text(report)
  end
  return report.counts.fail > 0 and 1 or 0
end


return doctor
