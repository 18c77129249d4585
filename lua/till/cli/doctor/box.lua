-- till/cli/doctor/box - does this machine lock merchants' rules up, so that they may run?
local box = require "till.prim.box"

local RULE = "return function(_, input) return input.n end"


local function run_one(report)
  local answers, err = box.evaluate { hook = "promo.evaluate", input = { n = 7 },
    deadline_ms = 5000, rules = { { name = "doctor", text = RULE } } }
  if not answers then
    report.fail("box", "no rule of a merchant can run: " .. err.message, "moontill-box belongs"
      .. " beside moontill and must be executable by the server's user, on a kernel with"
      .. " CONFIG_SECCOMP_FILTER; nothing runs unlocked instead.")
  elseif answers[1].value ~= 7 then
    local failure = answers[1].failure or { message = "another answer" }
    report.fail("box", "a rule that only gives back a number fails: " .. failure.message,
      "The log of the server says more (box.*, rule.*).")
  else
    report.ok("box", ("merchants' rules run locked up, a small one in %d us"):format(answers[1].us))
  end
end


return { run_one }
