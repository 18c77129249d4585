-- till/cli/plugin/kinds_waiting - those of till.cli.plugin.kinds that talk to somebody outside.
local kinds = {}

kinds.payment = {
  title = "Payments at a provider",
  hooks = { "payment.describe", "payment.authorize", "payment.capture", "payment.void",
    "payment.refund", "payment.lookup" },
  manifest = [[
  capabilities = { "http:config.url" }, -- only the host that this option names is ever called
  config  = {
    label = { type = "string", default = "Card", min = 1, max = 120 },
    url   = { type = "string", required = true, doc = "Of the provider: https://api.example.com" },
    key   = { type = "secret", required = true, doc = 'env("NAME") or file("/path").' },
  },
]],
  handler = [[
local conf = require "till.prim.conf"
local http = require "till.prim.http"
local json = require "till.prim.json"

local handler = {}


-- The provider's answer is data of somebody else's: what is not understood is unknown, and the
-- server looks it up later. Nothing is ever "declined" for want of an answer.
local function ask(config, what, payment, done)
  local key, why = conf.secret(config.key)
  if not key then return nil, why end
  local answer, err = http.request {
    method = "POST", url = config.url .. "/" .. what, timeout_ms = 8000,
    headers = { ["authorization"] = "Bearer " .. key, ["content-type"] = "application/json",
      ["idempotency-key"] = payment.idem_key },
    body = json.encode { amount = payment.amount, currency = payment.currency,
      ref = payment.provider_ref, token = payment.data and payment.data.token },
  }
  if not answer then
    return { outcome = what == "authorize" and err.sent == false and "failed" or "unknown" }
  end
  local body = json.decode(answer.body)
  if type(body) ~= "table" or answer.status >= 500 then return { outcome = "unknown" } end
  if answer.status >= 400 then
    return { outcome = "declined", reason = tostring(body.reason or "declined") }
  end
  return { outcome = done, provider_ref = tostring(body.ref) }
end


handler["payment.describe"] = function(config)
  return { label = config.label, fields = { "token" } }
end


handler["payment.authorize"] = function(config, payment)
  return ask(config, "authorize", payment, "authorized")
end


handler["payment.capture"] = function(config, payment)
  return ask(config, "capture", payment, "captured")
end


handler["payment.void"] = function(config, payment)
  return ask(config, "void", payment, "voided")
end


handler["payment.refund"] = function(config, payment)
  return ask(config, "refund", payment, "refunded")
end


--- What became of an attempt whose answer was lost.
handler["payment.lookup"] = function(config, payment)
  return ask(config, "lookup", payment, "authorized")
end


return handler
]],
  spec = [[
local t = require "till.test"

-- Nobody listens there: the ways in which a provider is away are what matters most.
local OPTIONS = { url = "http://127.0.0.1:9", key = "secret-for-tests" }
local PAYMENT = { payment_id = "pay_1", idem_key = "pay_1", amount = 1000, currency = "EUR",
  data = { token = "tok" } }


t.plugin("%NAME%", OPTIONS, function(plugin)
  t.it("is offered by its label", function()
    t.equal(plugin:call("payment.describe", { currency = "EUR", country = "DE" }).label, "Card")
  end)

  t.it("has failed where the provider cannot have got it", function()
    t.equal(plugin:call("payment.authorize", PAYMENT).outcome, "failed")
  end)

  t.it("does not know what became of anything else", function()
    for _, hook in ipairs { "payment.capture", "payment.void", "payment.refund",
      "payment.lookup" } do
      t.equal(plugin:call(hook, PAYMENT).outcome, "unknown", hook)
    end
  end)

  t.it("needs an address", function()
    t.rejects(plugin, { key = "k" },
      "config.url: is needed. Of the provider: https://api.example.com")
  end)
end)
]],
}

kinds.order = {
  title = "Tells a system outside of each order",
  hooks = { "order.placed" },
  manifest = [[
  capabilities = { "http:config.url" }, -- only the host that this option names is ever called
  config  = {
    url = { type = "string", required = true, doc = "Gets a POST for each order." },
  },
]],
  handler = [[
local err = require "till.util.err"
local http = require "till.prim.http"
local json = require "till.prim.json"

local handler = {}


--- Comes at least once for each order, and again after a failure: the receiver must know the id.
handler["order.placed"] = function(config, order)
  local answer, failure = http.request { method = "POST", url = config.url, timeout_ms = 10000,
    headers = { ["content-type"] = "application/json" },
    body = json.encode { id = order.id, number = order.number } }
  if not answer then return nil, failure end
  if answer.status >= 300 then
    return nil, err.new("unavailable", "it answered " .. answer.status)
  end
  return true
end


return handler
]],
  spec = [[
local t = require "till.test"


t.plugin("%NAME%", { url = "http://127.0.0.1:9/orders" }, function(plugin)
  t.it("fails while nobody listens, so that the event comes again", function()
    local value, failure = plugin:call("order.placed", { id = "ord_1", number = "1001" })
    t.equal(value, nil)
    t.ok(failure)
  end)
end)
]],
}

kinds.job = {
  title = "Work of its own, done by the jobs workers",
  hooks = { "job.run" },
  manifest = [[
  config  = {
    greeting = { type = "string", default = "Hello" },
  },
]],
  handler = [[
local log = require "till.prim.log"

local handler = {}


--- Comes at least once for each event: be ready to see one twice.
handler["job.run"] = function(config, event)
  log.info("job.greeted", { greeting = config.greeting, event = event.id })
  return true
end


return handler
]],
  spec = [[
local t = require "till.test"


t.plugin("%NAME%", {}, function(plugin)
  t.it("does its work, and again when it is told again", function()
    for _ = 1, 2 do t.equal(plugin:call("job.run", { id = "evt_1" }), true) end
  end)
end)
]],
}

kinds.webhook = {
  title = "What a provider tells us, signed",
  hooks = { "webhook.receive" },
  manifest = [[
  config  = {
    secret = { type = "secret", required = true, doc = "What the sender signs with." },
  },
]],
  handler = [[
local conf = require "till.prim.conf"
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"
local log = require "till.prim.log"

local handler = {}


local function is_signed(config, hook)
  local secret = conf.secret(config.secret)
  local given = hook.headers["x-signature"]
  return secret and given and
    crypto.equal(given, crypto.hex(crypto.hmac_sha256(secret, hook.body)))
end


--- Answers 2xx only once what it was told is safe: otherwise the sender comes again.
handler["webhook.receive"] = function(config, hook)
  if not is_signed(config, hook) then return { status = 401 } end
  local event = json.decode(hook.body)
  if type(event) ~= "table" then return { status = 400 } end
  log.info("webhook.received", { type = tostring(event.type) })
  return { status = 200 }
end


return handler
]],
  spec = [[
local t = require "till.test"
local crypto = require "till.prim.crypto"

local BODY = '{"type":"paid"}'


t.plugin("%NAME%", { secret = "s3cret" }, function(plugin)
  local function status(signature, body)
    return plugin:call("webhook.receive", { headers = { ["x-signature"] = signature },
      body = body or BODY }).status
  end

  local function sign(body)
    return crypto.hex(crypto.hmac_sha256("s3cret", body))
  end

  t.it("takes what is signed", function() t.equal(status(sign(BODY)), 200) end)

  t.it("takes nothing else", function()
    t.equal(status(nil), 401)
    t.equal(status(sign("{}")), 401)
    t.equal(status(sign("no json"), "no json"), 400)
  end)
end)
]],
}

kinds.http = {
  title = "A page of its own",
  hooks = { "http.route" },
  manifest = [[
  config  = {
    greeting = { type = "string", default = "Hello" },
  },
]],
  handler = [[
local handler = {}


--- Asked once, while the generation loads. Paths lie below /plugins/%NAME%/.
handler["http.route"] = function(config)
  return { {
    method = "GET", path = "/plugins/%NAME%/hello", auth = "none", summary = "Says hello",
    handler = function(ctx) return ctx:json(200, { greeting = config.greeting }) end,
  } }
end


return handler
]],
  spec = [[
local t = require "till.test"


t.plugin("%NAME%", {}, function(plugin)
  t.it("has one route, below its own path", function()
    local routes = plugin:call("http.route")
    t.equal(#routes, 1)
    t.equal(routes[1].path, "/plugins/%NAME%/hello")
  end)

  t.it("says hello", function()
    local ctx = { json = function(_, status, body) return { status = status, body = body } end }
    t.same(plugin:call("http.route")[1].handler(ctx),
      { status = 200, body = { greeting = "Hello" } })
  end)
end)
]],
}

return kinds
