-- till/plugin/provider_calls - payment providers are asked through here: whether at all, and how
-- often. core/trade/breaker.h says what a breaker, a bulkhead and a retry are.
--
--   provider_calls.run(plugin, hook, payment, call) -> what call() gave | an answer of ours
--   provider_calls.covers(hook) -> boolean     authorize, capture, void, refund, lookup
--   provider_calls.states(provider) -> { { operation, state, retry_after_ms } }, in this worker;
--       operations that were not asked for yet are closed
--
-- Who is refused was not sent: an authorization that the provider has never heard of is `failed`,
-- and may be tried again or moved to another provider. Of everything else nothing is concluded:
-- `unknown`, and it is asked for later.
--
-- An answer may say of itself
--   answered = true    `unknown` or `failed` is what the provider said: it is well
--   retryable = true   nothing was done, or it is safe to send again under this key
local breaker = require "till.prim.breaker"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local time = require "till.prim.time"

local provider_calls = {}

local OPERATIONS = { "authorize", "capture", "void", "refund", "lookup" }
local LEASE_MS = 30000 -- a hook ends within 20 s: a probe that is out for longer will not come back
local NUMBERS = { closed = 0, half_open = 1, open = 2 }
local OURS = { cancelled = true, overload = true } -- says nothing of the provider

local operation_of = {}
for _, name in ipairs(OPERATIONS) do operation_of["payment." .. name] = name end

local providers = {} -- in this worker, of this generation
local policy


local function retry_policy()
  policy = policy or { max_attempts = conf.get "payments.retry_attempts",
    base_ms = conf.get "payments.retry_base_ms", cap_ms = conf.get "payments.retry_cap_ms",
    total_ms = conf.get "payments.retry_total_ms" }
  return policy
end


local function new_gate(provider, operation)
  return { labels = { provider = provider, operation = operation }, calls = {}, refused = {},
    state = "closed", breaker = breaker.new {
      window_ms = conf.get "payments.breaker_window_ms",
      min_calls = conf.get "payments.breaker_min_calls",
      failure_percent = conf.get "payments.breaker_failure_percent",
      cooldown_ms = conf.get "payments.breaker_cooldown_ms",
      probes = conf.get "payments.breaker_probes", lease_ms = LEASE_MS } }
end


local function gates_of(name)
  local found = providers[name]
  if found then return found end
  found = { name = name, bulkhead = breaker.bulkhead(conf.get "payments.bulkhead") }
  for _, operation in ipairs(OPERATIONS) do found[operation] = new_gate(name, operation) end
  providers[name] = found
  return found
end


local function count(gate, name, field, value)
  local kept = name == "till_provider_calls_total" and gate.calls or gate.refused
  kept[value] = kept[value] or { provider = gate.labels.provider,
    operation = gate.labels.operation, [field] = value }
  metrics.add(name, kept[value], 1)
end


-- A change is told once, by the call that saw it.
local function watch(gate)
  local state = gate.breaker:state(time.mono_ms())
  if state == gate.state then return end
  local what = { provider = gate.labels.provider, operation = gate.labels.operation,
    from = gate.state, to = state, dry_run = conf.get "payments.breaker_dry_run" }
  gate.state = state
  metrics.set("till_provider_breaker_state", gate.labels, NUMBERS[state])
  if state == "open" then return log.error("provider.breaker", what) end
  log.info("provider.breaker", what)
end


local function refused(gate, operation, payment, reason)
  count(gate, "till_provider_refused_total", "reason", reason)
  log.warn("provider.refused", { provider = gate.labels.provider, operation = operation,
    reason = reason })
  -- One that was sent before may be known there, and confirmed by the shopper meanwhile.
  local is_new = operation == "authorize" and not payment.provider_ref and not payment.is_resent
  return { outcome = is_new and "failed" or "unknown", provider_ref = payment.provider_ref,
    reason = "the provider cannot be asked at the moment; try again later" }
end


local function is_failure(answer)
  if not answer then return true end
  return (answer.outcome == "unknown" or answer.outcome == "failed") and answer.answered ~= true
end


local function tell(gate, ticket, answer, e)
  count(gate, "till_provider_calls_total", "outcome", answer and answer.outcome or "error")
  if not answer and e and OURS[e.code] then
    gate.breaker:drop(ticket)
  else
    gate.breaker:tell(ticket, is_failure(answer), time.mono_ms())
  end
  watch(gate)
end


-- May it be sent again? Of a lookup nothing comes; all else has a key, which makes twice once, but
-- is sent again only where it is said to be safe.
local function may_retry(operation, payment, answer, e)
  if answer and answer.retryable ~= nil then return answer.retryable == true end
  if operation == "lookup" then return is_failure(answer) and not (e and OURS[e.code]) end
  return payment.idem_key ~= nil and answer == nil and e ~= nil and e.sent == false
end


-- -> true, after the wait
local function waits_for_another(made, begun)
  local elapsed = math.max(0, math.floor(time.mono_ms() - begun))
  local wait = breaker.wait(retry_policy(), made, elapsed)
  local left = co.time_left()
  if not wait or left and wait > left / 2 then return false end
  return wait == 0 or time.sleep(wait) == true
end


-- -> answer, err | false: refused
local function once(gates, gate, operation, payment, call)
  local may, ticket = gate.breaker:ask(time.mono_ms())
  watch(gate)
  if not may and not conf.get "payments.breaker_dry_run" then
    return refused(gate, operation, payment, "breaker"), nil, true
  end
  if not may then count(gate, "till_provider_refused_total", "reason", "dry_run") end
  if not gates.bulkhead:enter() then
    gate.breaker:drop(ticket)
    return refused(gate, operation, payment, "bulkhead"), nil, true
  end
  local good, answer, e = pcall(call)
  gates.bulkhead:leave()
  if not good then
    gate.breaker:drop(ticket)
    error(answer, 0)
  end
  tell(gate, ticket, answer, e)
  return answer, e
end


function provider_calls.covers(hook)
  return operation_of[hook] ~= nil
end


function provider_calls.run(plugin, hook, payment, call)
  local operation, gates = operation_of[hook], gates_of((plugin:gsub("^payment%-", "")))
  local gate, begun, made = gates[operation], time.mono_ms(), 0
  local kept, kept_error
  repeat
    local answer, e, is_refused = once(gates, gate, operation, payment, call)
    -- What an earlier attempt left open is not `failed` because the next one was not made.
    if is_refused and made > 0 then return kept, kept_error end
    if is_refused then return answer end
    kept, kept_error, made = answer, e, made + 1
    local again = may_retry(operation, payment, answer, e) and waits_for_another(made, begun)
    if again then metrics.add("till_provider_retries_total", gate.labels, 1) end
  until not again
  return kept, kept_error
end


function provider_calls.states(provider)
  local out, gates = {}, gates_of(provider)
  for i, operation in ipairs(OPERATIONS) do
    local state, wait = gates[operation].breaker:state(time.mono_ms())
    out[i] = { operation = operation, state = state, retry_after_ms = wait }
  end
  return out
end


return provider_calls
