-- till/http/hooks_api - where providers call in: the named plugin proves the sender and answers.
--
-- The body is handed over as the bytes that came, for signatures are over bytes. What it tells is
-- in the inbox before 2xx is answered (till.flow.webhooks); whatever else is answered, the provider
-- sends it again.
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local respond = require "till.http.respond"
local route = require "till.http.route"
local s = require "till.util.schema"
local webhooks = require "till.flow.webhooks"


local function receive(ctx)
  local plugin = ctx.params.plugin
  if not dispatch.has("webhook.receive", plugin) then
    return nil, err.new("not_found", "There is no plugin of this name that takes webhooks.")
  end
  local status, failure = webhooks.receive(plugin,
    { headers = ctx.req.headers, body = ctx.body or "" })
  if not status then return nil, failure end
  return respond.raw(status, {}, "")
end


return {
  route.post("/hooks/v1/{plugin}", {
    summary = "What a provider has to tell", tag = "hooks", auth = "hook",
    params = { plugin = s.string { min = 1, max = 64, pattern = "^[%l%d-]+$" } },
    returns = { [200] = true }, handler = receive,
  }),
}
