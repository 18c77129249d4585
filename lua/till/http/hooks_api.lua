-- till/http/hooks_api - where providers call in: the named plugin proves the sender and answers.
--
-- The body is handed over as the bytes that came, for signatures are over bytes. The plugin commits
-- what it learnt before it answers 2xx; whatever else it answers, the provider sends it again.
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local respond = require "till.http.respond"
local route = require "till.http.route"
local s = require "till.util.schema"


local function receive(ctx)
  local plugin = ctx.params.plugin
  if not dispatch.has("webhook.receive", plugin) then
    return nil, err.new("not_found", "There is no plugin of this name that takes webhooks.")
  end
  local answer, failure = dispatch.plugin(plugin, "webhook.receive",
    { headers = ctx.req.headers, body = ctx.body or "" })
  if not answer then return nil, failure end
  return respond.raw(answer.status, {}, "")
end


return {
  route.post("/hooks/v1/{plugin}", {
    summary = "What a provider has to tell", tag = "hooks", auth = "hook",
    params = { plugin = s.string { min = 1, max = 64, pattern = "^[%l%d-]+$" } },
    returns = { [200] = true }, handler = receive,
  }),
}
