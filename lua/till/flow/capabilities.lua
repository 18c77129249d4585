-- till/flow/capabilities - what each payment provider can do: its hook payment.capabilities, read
-- and checked once, while the generation loads.
--
--   check()                  reads all; a wrong one refuses the generation
--   of(provider) -> matrix   with the defaults; the defaults alone where the plugin says nothing
--   offers(provider, about [, now_ms]) -> true | nil, sentence    about { currency, country,
--                            amount in minor units }: may this cart be paid with it, now?
--                            now_ms false: at whatever hour
--   can(provider, name) -> boolean    partial_capture, multiple_captures, partial_refund, void,
--                            saved_methods, trusts_callbacks
--   providers() -> names of all payment plugins that are loaded
--
-- The matrix: currencies, countries (lists of codes; any where absent), min_amount, max_amount (by
-- currency, minor units), hours { from = "08:00", to = "18:00", zone = "-04:00" } (through midnight
-- where `to` is not after `from`), authorization_days, and the booleans above.
local dispatch = require "till.plugin.dispatch"
local findings = require "till.plugin.findings"
local time = require "till.prim.time"

local capabilities = {}

local DEFAULTS = { partial_capture = true, multiple_captures = false, partial_refund = true,
  void = true, saved_methods = false, trusts_callbacks = false }
local DAY_MIN = 24 * 60

local matrices = {} -- by provider


local function list_of(pattern, what)
  return function(value)
    if type(value) ~= "table" or #value == 0 then return "a list of " .. what end
    local n = 0
    for _ in pairs(value) do n = n + 1 end
    for _, one in ipairs(value) do
      if type(one) ~= "string" or not one:find(pattern) then return "a list of " .. what end
    end
    if n ~= #value then return "a list of " .. what end
  end
end


local function is_amount(n)
  return type(n) == "number" and n % 1 == 0 and n >= 0 and n < 2 ^ 53
end


local function amounts(value)
  local wrong = "minor units by currency: { GYD = 10000 }"
  if type(value) ~= "table" then return wrong end
  for code, n in pairs(value) do
    if type(code) ~= "string" or not code:find("^%u%u%u$") or not is_amount(n) then return wrong end
  end
end


local function minute_of(text)
  local h, m = tostring(text):match("^(%d%d):(%d%d)$")
  h, m = tonumber(h), tonumber(m)
  return h and h < 24 and m < 60 and h * 60 + m or nil
end


local function zone_of(text)
  local sign, rest = tostring(text):match("^([+-])(%d%d:%d%d)$")
  local minutes = sign and minute_of(rest)
  return minutes and (sign == "-" and -minutes or minutes)
end


local function hours(value)
  local good = type(value) == "table" and minute_of(value.from) and minute_of(value.to)
    and zone_of(value.zone)
  if not good then return '{ from = "08:00", to = "18:00", zone = "-04:00" }' end
end


local function days(value)
  if not is_amount(value) or value < 1 or value > 365 then return "a whole number, 1 to 365" end
end


local function boolean(value)
  if type(value) ~= "boolean" then return "true or false" end
end


local FIELDS = { currencies = list_of("^%u%u%u$", "ISO 4217 codes"),
  countries = list_of("^%u%u$", "ISO 3166-1 codes"), min_amount = amounts, max_amount = amounts,
  hours = hours, authorization_days = days }
for name in pairs(DEFAULTS) do FIELDS[name] = boolean end


-- -> nil, or a sentence
local function fault_of(answer)
  if type(answer) ~= "table" then return "it must answer a table" end
  for name, value in pairs(answer) do
    local check = FIELDS[name]
    if not check then return ("there is no capability %s"):format(tostring(name)) end
    local wrong = check(value)
    if wrong then return ("%s must be %s"):format(name, wrong) end
  end
  for code, least in pairs(answer.min_amount or {}) do
    if least > ((answer.max_amount or {})[code] or math.huge) then
      return ("min_amount.%s is more than max_amount"):format(code)
    end
  end
end


local function read(plugin)
  local hook = plugin.handlers["payment.capabilities"]
  local answer = hook and hook(plugin.config) or {}
  local why = fault_of(answer)
  if not why and answer.saved_methods and not plugin.handlers["payment.forget"] then
    why = "saved_methods needs the hook payment.forget: who deletes one wants it forgotten"
  end
  if why then
    error(("plugins/%s/handler.lua: payment.capabilities: %s"):format(plugin.name, why), 0)
  end
  local out = {}
  for name, value in pairs(DEFAULTS) do out[name] = value end
  for name, value in pairs(answer) do out[name] = value end
  return out
end


local function provider_of(plugin)
  return plugin.name:match("^payment%-(.+)$")
end


function capabilities.check()
  matrices = {}
  for _, plugin in ipairs(dispatch.plugins()) do
    local provider = provider_of(plugin)
    if provider then matrices[provider] = findings.try(plugin.name, read, plugin) end
  end
end


function capabilities.of(provider)
  return matrices[provider] or DEFAULTS
end


function capabilities.can(provider, name)
  if DEFAULTS[name] == nil then error("there is no capability " .. tostring(name), 2) end
  return capabilities.of(provider)[name]
end


function capabilities.providers()
  local out = {}
  for _, plugin in ipairs(dispatch.plugins()) do out[#out + 1] = provider_of(plugin) end
  return out
end


local function has(list, value)
  if not list then return true end
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end


local function is_open(at, now_ms)
  local from, to = minute_of(at.from), minute_of(at.to)
  local now = (math.floor(now_ms / 60000) + zone_of(at.zone)) % DAY_MIN
  if from < to then return now >= from and now < to end
  return now >= from or now < to
end


function capabilities.offers(provider, about, now_ms)
  local m = capabilities.of(provider)
  if not has(m.currencies, about.currency) then
    return nil, ("%s does not take %s"):format(provider, about.currency)
  elseif not has(m.countries, about.country) then
    return nil, ("%s is not offered in %s"):format(provider, tostring(about.country))
  elseif about.amount < ((m.min_amount or {})[about.currency] or 0) then
    return nil, ("%s takes no payment as small as this"):format(provider)
  elseif about.amount > ((m.max_amount or {})[about.currency] or math.huge) then
    return nil, ("%s takes no payment as large as this"):format(provider)
  elseif m.hours and now_ms ~= false and not is_open(m.hours, now_ms or time.now_ms()) then
    return nil, ("%s takes payments from %s to %s (UTC%s)"):format(provider, m.hours.from,
      m.hours.to, m.hours.zone)
  end
  return true
end


return capabilities
