local t = require "till.test"

local OPTIONS = { host = "127.0.0.1", port = 1, user = "u", password = "p" }
local EVENT = { id = "7", aggregate = "order:ord_1", type = "order.placed", payload = { n = 1 },
  created_at = "2026-11-29T10:00:00.000Z", traceparent = "" }


local function with(more)
  local out = {}
  for name, value in pairs(OPTIONS) do out[name] = value end
  for name, value in pairs(more) do out[name] = value end
  return out
end


t.plugin("events-rabbitmq", OPTIONS, function(plugin)
  t.it("says that the broker is away, and that it may be asked again", function()
    local answer, failure = plugin:call("event.publish", { EVENT })
    t.equal(answer, nil)
    t.equal(failure.code, "unavailable")
    t.ok(failure.retryable)
    t.ok(tostring(failure):find("connecting to 127.0.0.1:1", 1, true), tostring(failure))
  end)

  t.it("refuses options that do not go together", function()
    t.rejects(plugin, { host = "x", user = "u" }, "config.password: is needed. Of `user`.")
    t.rejects(plugin, with { port = 0 }, "config.port: at least 1")
    t.rejects(plugin, with { tls = true }, "config.ca_file: tls needs the authorities to believe,"
      .. " such as /etc/ssl/certs/ca-certificates.crt")
    t.rejects(plugin, with { routing_key = "{kind}" },
      "config.routing_key: braces hold `type` or `aggregate`")
    t.rejects(plugin, with { unroutable = "lose" },
      "config.unroutable: must be retry or drop")
  end)
end)
