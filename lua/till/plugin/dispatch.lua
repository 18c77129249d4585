-- till/plugin/dispatch - asks plugins, on the terms of till.plugin.hooks.
--
--   dispatch.setup(plugins)                 once, by main.lua, with what the loader found
--   dispatch.ask(hook, ...)   -> list of { plugin =, value = } (many) or value (one) | nil, err
--   dispatch.plugin(name, hook, ...) -> value | nil, err       one, by name
--   dispatch.call(plugin, hook, ...) -> the same of a plugin that need not be set up: for specs
--   dispatch.has(hook [, name]) -> boolean;  dispatch.names(hook) -> names in order of asking
--   dispatch.waits(name) -> boolean    may a hook of this plugin wait for somebody outside?
--   dispatch.plugins() -> list;  dispatch.config(name) -> its options
--
-- Each handler is called fn(config, ...). It answers a value, nil (it has nothing to say), or
-- nil and an error. What it throws is logged with its traceback and is a failure like any other.
-- A hook that may wait runs in a coroutine of its own, which has the hook's budget: when that is
-- over, or the caller has gone, its waits end (timeout, cancelled) and it holds nothing any more;
-- it has a moment to say what it makes of that (a payment: `unknown`) before it is not heard.
-- A plugin that says `waits = false` is called at once. Payment providers that are somebody outside
-- are asked through till.plugin.provider_calls, by `plugin` alone.
local err = require "till.util.err"
local co = require "till.prim.co"
local copy = require "till.util.copy"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local time = require "till.prim.time"
local provider_calls = require "till.plugin.provider_calls"
local HOOKS = require "till.plugin.hooks"

local dispatch = {}

local GRACE_MS = 100 -- for the plugin to say what it makes of a wait that its budget has ended
local SLACK_MS = 5 -- of the loop's clock, which deadlines are of

local all, by_name, by_hook = {}, {}, {}


function dispatch.setup(plugins)
  all, by_name, by_hook = plugins, {}, {}
  for hook in pairs(HOOKS) do by_hook[hook] = {} end
  for _, plugin in ipairs(plugins) do
    by_name[plugin.name] = plugin
    for _, hook in ipairs(plugin.hooks) do table.insert(by_hook[hook], plugin) end
  end
end


local function asked(hook, level)
  if not HOOKS[hook] then error("there is no hook " .. tostring(hook), level + 1) end
  return by_hook[hook] or {}
end


function dispatch.has(hook, name)
  if not name then return #asked(hook, 2) > 0 end
  return by_name[name] ~= nil and by_name[name].handlers[hook] ~= nil
end


function dispatch.names(hook)
  local out = {}
  for i, plugin in ipairs(asked(hook, 2)) do out[i] = plugin.name end
  return out
end


function dispatch.waits(name)
  return by_name[name] == nil or by_name[name].waits ~= false
end


function dispatch.plugins()
  return all
end


function dispatch.config(name)
  return by_name[name] and by_name[name].config
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return { traceback = debug.traceback(tostring(thrown), 2) }
end


local function pack(...)
  return { n = select("#", ...), ... }
end


local function guarded(plugin, hook, ...)
  co.enter(plugin.name, hook)
  local good, value, failure = xpcall(plugin.handlers[hook], traced, plugin.config, ...)
  co.leave()
  if good then
    if value == nil and failure ~= nil and not err.is(failure) then
      failure = err.new("internal", tostring(failure))
    end
    return value, failure
  end
  if err.is(value) then return nil, value end
  log.error("hook.fault", { plugin = plugin.name, hook = hook, error = value.traceback })
  return nil, err.new("internal", "the plugin " .. plugin.name .. " failed")
end


-- Whoever asked needs some of his time to write down that there was no answer.
local function patience()
  local left = co.time_left()
  if not left then return math.huge end
  return left - math.min(1500, left / 4)
end


local function waiting(budget_ms, plugin, hook, ...)
  local args = pack(...)
  local waiter, trace = co.waiter(), co.traceparent()
  local limit = math.min(budget_ms, patience())
  local task = co.task(limit, function()
    if trace then co.adopt(trace) end
    local value, failure = guarded(plugin, hook, unpack(args, 1, args.n))
    waiter:signal({ value = value, failure = failure })
  end)
  local answer, failure = waiter:wait(limit + math.min(GRACE_MS, limit / 10), true)
  if not answer then
    task:cancel()
    return nil, failure
  end
  return answer.value, answer.failure
end


local function at_once(...)
  return co.no_wait(guarded, ...)
end


local function misfit(terms, value)
  if value == nil then
    return terms.outcomes and "it answered nothing"
  end
  if terms.answer and type(value) ~= "table" then
    return "it answered a " .. type(value) .. " instead of a " .. terms.answer
  elseif terms.answer == "list" and value[1] == nil and next(value) ~= nil then
    return "it answered a table instead of a list"
  elseif terms.outcomes and not terms.outcomes[value.outcome] then
    return "it answered the outcome " .. tostring(value.outcome)
  end
end


local labels = {}


local function labels_of(name, hook)
  local of_hook = labels[hook] or {}
  labels[hook] = of_hook
  of_hook[name] = of_hook[name] or { plugin = name, hook = hook }
  return of_hook[name]
end


local function call(plugin, hook, ...)
  local terms, started = HOOKS[hook], time.mono_us()
  local value, failure
  if terms.may_yield and plugin.waits ~= false then
    value, failure = waiting(terms.budget_ms, plugin, hook, ...)
  else
    value, failure = at_once(plugin, hook, ...)
  end
  local series = labels_of(plugin.name, hook)
  local seconds = (time.mono_us() - started) / 1e6
  metrics.observe("till_hook_duration_seconds", series, seconds)
  if seconds * 1000 >= terms.budget_ms - (terms.may_yield and SLACK_MS or 0) then
    metrics.add("till_hook_overruns_total", series, 1)
  end
  if not failure then
    local wrong = misfit(terms, value)
    if wrong then failure = err.new("internal", plugin.name .. " " .. hook .. ": " .. wrong) end
  end
  if not failure then return value end
  metrics.add("till_hook_failures_total", series, 1)
  log.warn("hook.failed", { plugin = plugin.name, hook = hook, error = tostring(failure),
    ms = math.floor(seconds * 1000) })
  return nil, failure:at(plugin.name .. "." .. hook)
end


-- What one does to it changes nothing, for the others and for whoever asks.
local function own(value, ...)
  if select("#", ...) == 0 then return copy.deep(value) end
  return copy.deep(value), own(...)
end


local function ask_all(hook, terms, ...)
  local out, first = {}, nil
  for _, plugin in ipairs(asked(hook, 3)) do
    local value, failure = call(plugin, hook, own(...))
    if failure and terms.on_error == "stop" then return nil, failure end
    first = first or failure
    if value ~= nil then out[#out + 1] = { plugin = plugin.name, value = value } end
  end
  if first and terms.on_error == "retry" then return nil, first end
  return out
end


function dispatch.ask(hook, ...)
  local plugins, terms = asked(hook, 2), HOOKS[hook]
  if terms.many then return ask_all(hook, terms, ...) end
  if not plugins[1] then return nil end
  local value, failure = call(plugins[1], hook, ...)
  if failure and terms.on_error ~= "skip" then return nil, failure end
  return value
end


function dispatch.call(plugin, hook, ...)
  asked(hook, 2)
  if not plugin.handlers[hook] then error(plugin.name .. " has no hook " .. hook, 2) end
  return call(plugin, hook, ...)
end


function dispatch.plugin(name, hook, ...)
  asked(hook, 2)
  local plugin = by_name[name]
  if not plugin or not plugin.handlers[hook] then
    return nil, err.new("not_found", ("there is no plugin %s with %s"):format(tostring(name), hook))
  end
  if not provider_calls.covers(hook) or plugin.waits == false then
    return call(plugin, hook, ...)
  end
  local args = pack(...)
  return provider_calls.run(name, hook, (...), function()
    return call(plugin, hook, unpack(args, 1, args.n))
  end)
end


return dispatch
