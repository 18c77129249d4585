-- till/http/admin_api/payment_providers - the providers that are loaded: what they can do, whether
-- they are asked at the moment, and whether their credentials work.
local capabilities = require "till.flow.capabilities"
local dispatch = require "till.plugin.dispatch"
local json = require "till.prim.json"
local provider_calls = require "till.plugin.provider_calls"
local route = require "till.http.route"
local s = require "till.util.schema"

local PROVIDER = s.object({ provider = s.string {}, capabilities = s.any {},
  breakers = s.array(s.object({ operation = s.string {}, state = s.string {
    enum = { "closed", "half_open", "open" } }, retry_after_ms = s.integer {} })),
  credentials = s.object({ ok = s.boolean {}, problem = s.string {}, next_step = s.string {} }),
}, { additional = true, name = "PaymentProvider" })


local function credentials_of(plugin)
  if not dispatch.has("payment.check", plugin) then return nil end
  local answer, e = dispatch.plugin(plugin, "payment.check")
  if not answer then return { ok = false, problem = e.message } end
  return { ok = answer.ok == true, problem = answer.problem, next_step = answer.next_step }
end


local function list(ctx)
  local out = {}
  for i, provider in ipairs(capabilities.providers()) do
    local plugin = "payment-" .. provider
    out[i] = { provider = provider, capabilities = capabilities.of(provider),
      breakers = dispatch.waits(plugin) and provider_calls.states(provider) or nil,
      credentials = ctx.query.check == "true" and credentials_of(plugin) or nil }
  end
  return ctx:json(200, { data = json.array(out) })
end


return {
  route.get("/admin/v1/payment-providers", {
    summary = "Payment providers: capabilities, breakers, credentials", tag = "payments",
    auth = "admin", permission = "payments.read",
    doc = "`breakers` are those of the worker that answers. With `check=true` each provider is "
      .. "asked whether it takes the credentials.",
    query = { check = s.string { enum = { "true", "false" } } },
    returns = { [200] = s.object({ data = s.array(PROVIDER) }, { required = { "data" } }) },
    handler = list,
  }),
}
