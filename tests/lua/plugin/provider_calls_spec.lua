local t = require "till.test"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local provider_calls = require "till.plugin.provider_calls"

local MIN_CALLS = conf.get "payments.breaker_min_calls"
local providers = 0


-- A provider of its own for each test, and a function that asks it.
local function new_provider()
  providers = providers + 1
  local name, calls = "spec" .. providers, 0
  local function ask(operation, answer, e, payment)
    return provider_calls.run("payment-" .. name, "payment." .. operation,
      payment or { idem_key = "k" }, function()
        calls = calls + 1
        if type(answer) == "function" then return answer(calls) end
        return answer, e
      end)
  end
  return ask, function() return calls end, name
end


local function times(n, fn, ...)
  for _ = 1, n do fn(...) end
end


local function state_of(name, operation)
  for _, one in ipairs(provider_calls.states(name)) do
    if one.operation == operation then return one.state end
  end
end


t.describe("a provider that fails", function()
  t.it("is asked for no more authorizations, and those have failed, not vanished", function()
    local ask, calls, name = new_provider()
    times(MIN_CALLS, ask, "authorize", { outcome = "unknown" })
    t.equal(state_of(name, "authorize"), "open")
    local answer = ask("authorize", { outcome = "authorized" })
    t.equal(answer.outcome, "failed")
    t.equal(answer.reason, "the provider cannot be asked at the moment; try again later")
    t.equal(calls(), MIN_CALLS)
  end)

  t.it("of what it may know of already nothing is concluded", function()
    local ask = new_provider()
    times(MIN_CALLS, ask, "authorize", { outcome = "unknown" })
    local answer = ask("authorize", { outcome = "authorized" }, nil,
      { idem_key = "k", provider_ref = "pi_1" })
    t.same({ answer.outcome, answer.provider_ref }, { "unknown", "pi_1" })
    answer = ask("authorize", { outcome = "authorized" }, nil, { idem_key = "k", is_resent = true })
    t.equal(answer.outcome, "unknown")
    for _, operation in ipairs { "capture", "void", "refund" } do
      times(MIN_CALLS, ask, operation, { outcome = "unknown" })
      t.equal(ask(operation, { outcome = "captured" }).outcome, "unknown", operation)
    end
  end)

  t.it("is left alone for the operation that fails, and for no other", function()
    local ask, _, name = new_provider()
    times(MIN_CALLS, ask, "capture", nil, err.new("timeout"))
    t.equal(state_of(name, "capture"), "open")
    t.equal(state_of(name, "authorize"), "closed")
    t.equal(ask("authorize", { outcome = "authorized" }).outcome, "authorized")
  end)
end)


t.describe("no failure of the provider", function()
  t.table({
    { why = "is a decline", answer = { outcome = "declined" } },
    { why = "is that it says itself that it does not know yet",
      answer = { outcome = "unknown", answered = true } },
    { why = "is that it refused the request", answer = { outcome = "failed", answered = true } },
    { why = "is that whoever asked has gone", failure = "cancelled" },
  }, function(case)
    local ask, calls, name = new_provider()
    times(MIN_CALLS * 2, ask, "authorize", case.answer, case.failure and err.new(case.failure))
    t.equal(state_of(name, "authorize"), "closed")
    t.equal(calls(), MIN_CALLS * 2)
  end)
end)


t.describe("what is asked for again", function()
  t.it("is a lookup without an answer", function()
    local ask, calls = new_provider()
    local answer = ask("lookup", function(n)
      return { outcome = n < 3 and "unknown" or "captured" }
    end)
    t.same({ answer.outcome, calls() }, { "captured", 3 })
  end)

  t.it("is what did not arrive, under its key", function()
    local ask, calls = new_provider()
    local function arrives_late(n)
      if n == 1 then
        local e = err.new("conn_lost")
        e.sent = false
        return nil, e
      end
      return { outcome = "captured" }
    end
    t.equal(ask("capture", arrives_late).outcome, "captured")
    t.equal(calls(), 2)
    t.equal(ask("capture", { outcome = "unknown" }).outcome, "unknown")
    t.equal(calls(), 3)
  end)

  t.it("is what the plugin says, no more often than is configured", function()
    local ask, calls = new_provider()
    t.equal(ask("refund", { outcome = "unknown", retryable = true }).outcome, "unknown")
    t.equal(calls(), conf.get "payments.retry_attempts")
    ask("lookup", { outcome = "unknown", retryable = false })
    t.equal(calls(), conf.get "payments.retry_attempts" + 1)
  end)

  t.it("is no authorization that may have arrived, nor one without a key", function()
    local ask, calls = new_provider()
    local e = err.new("conn_lost")
    e.sent = true
    ask("authorize", nil, e)
    e.sent = false
    ask("authorize", nil, e, {})
    t.equal(calls(), 2)
  end)
end)


t.describe("a plugin that throws", function()
  t.it("leaves no place taken", function()
    local ask = new_provider()
    t.throws(function() ask("capture", function() error("oh", 0) end) end, "oh")
    t.equal(ask("capture", { outcome = "captured" }).outcome, "captured")
  end)
end)
