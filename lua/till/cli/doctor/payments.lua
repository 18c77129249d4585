-- till/cli/doctor/payments - whether the payment providers take their credentials.
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"


local function check(report, provider)
  local name, plugin = "payments." .. provider, "payment-" .. provider
  if not dispatch.has("payment.check", plugin) then
    return report.ok(name, "has no credentials to be checked")
  end
  local answer, e = dispatch.plugin(plugin, "payment.check")
  if not answer then
    report.fail(name, "could not be checked: " .. e.message, "See what the plugin logged.")
  elseif answer.ok then
    report.ok(name, "its credentials work")
  else
    report.fail(name, tostring(answer.problem), answer.next_step or "See the plugin's README.")
  end
end


-- Where plugins do not load, which is told of elsewhere, there are none here.
return { function(report)
  for _, provider in ipairs(capabilities.providers()) do check(report, provider) end
end }
