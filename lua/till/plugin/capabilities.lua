-- till/plugin/capabilities - what a manifest asks for besides, and whether a use of it was meant.
--
--   "http:HOST" "http:HOST:PORT" "http:*.example.com" "http:config.OPTION"   hosts of requests; an
--                     option holds a URL, or a list or map of such
--   "amqp:HOST" "amqp:config.OPTION"   brokers of messages; an option holds a host
--   "sql" "sql:TABLE"       statements; with tables named, on those alone
--   "redis"                 keys and channels of its own
--   "secrets:NAME"          a variable of the environment, besides options of type secret
--
--   capabilities.check(manifest)           -> nil, or the one that is wrong and a sentence
--   capabilities.has(manifest, kind)       -> boolean
--   capabilities.is_open(manifest, kind)   -> boolean: without a name behind it
--   capabilities.hosts(owner)              -> { "api.example.com", ... }, as declared or configured
--   capabilities.allows_url(owner, url)    -> true | nil, sentence
--   capabilities.allows_broker(owner, host) -> true | nil, sentence
--   capabilities.allows_statement(owner, text) -> true | nil, sentence
--   capabilities.allows_secret(owner, ref) -> true | nil, sentence
--
-- owner = { manifest =, config = its options, once they are known }
local statement = require "till.plugin.statement"
local text = require "till.util.text"

local capabilities = {}

local KINDS = {
  http = "say which host: \"http:api.example.com\", or the option that holds it: "
    .. "\"http:config.url\"",
  amqp = "say which host: \"amqp:mq.example.com\", or the option that holds it: "
    .. "\"amqp:config.host\"",
  sql = false, redis = false,
  secrets = "say which: \"secrets:NAME_IN_THE_ENVIRONMENT\"",
}
local KNOWN = { "amqp:HOST", "http:HOST", "redis", "secrets:NAME", "sql" }
local FORMS = {
  http = { "^%*?[%l%d%.-]+$", "^[%l%d%.-]+:%d+$", "^%[[%x:%.]+%]$", "^config%.[%w_%.]+$" },
  amqp = { "^[%l%d%.-]+$", "^config%.[%w_%.]+$" },
  sql = { "^[%l%d_]+$" }, secrets = { "^[%u%d_]+$" }, redis = {},
}


local function fits(kind, rest)
  for _, form in ipairs(FORMS[kind]) do
    if rest:find(form) then return true end
  end
  return false
end


local function option_of(config, path)
  local at = config
  for name in path:gmatch("[^.]+") do
    if type(at) ~= "table" then return nil end
    at = at[name]
  end
  return at
end


local function fault_of(m, capability)
  if type(capability) ~= "string" then return "a capability is a text" end
  local kind, rest = capability:match("^(%l+):?(.*)$")
  if KINDS[kind] == nil then
    return ("there is no capability %s; there are %s"):format(capability, text.list(KNOWN, "and"))
  end
  if rest == "" then return KINDS[kind] or nil end
  if not fits(kind, rest) then return capability .. ": it is not written like that" end
  local option = (kind == "http" or kind == "amqp") and rest:match("^config%.([^.]+)")
  if option and not (m.config or {})[option] then
    return ("%s: `config` declares no option %s"):format(capability, option)
  end
end


function capabilities.check(m)
  for _, capability in ipairs(m.capabilities or {}) do
    local why = fault_of(m, capability)
    if why then return tostring(capability), why end
  end
end


local function each(m, kind)
  local out = {}
  for _, capability in ipairs(m.capabilities) do
    local of, rest = capability:match("^(%l+):?(.*)$")
    if of == kind then out[#out + 1] = rest end
  end
  return out
end


function capabilities.has(m, kind)
  return #each(m, kind) > 0
end


-- ---- hosts ----------------------------------------------------------------------------------

-- Only what every reader of URLs takes the same way: no user, no escapes, no backslash.
local function split(url)
  local authority = type(url) == "string" and url:match("^[hH][tT][tT][pP][sS]?://([^/?#]*)")
  if not authority then return nil end
  -- linear: of the shop's configuration
  local host, port = authority:match("^([%w%.-]+):?(%d*)$")
  if not host then host, port = authority:match("^(%[[%x:%.]+%]):?(%d*)$") end
  return host and host:lower(), port
end


local function add_configured(out, value)
  if type(value) == "table" then
    for _, inner in pairs(value) do add_configured(out, inner) end
    return
  end
  local host = split(value)
  if host then out[#out + 1] = host end
end


function capabilities.hosts(owner)
  local out = {}
  for _, rest in ipairs(each(owner.manifest, "http")) do
    local option = rest:match("^config%.(.+)$")
    if option then
      add_configured(out, option_of(owner.config or {}, option))
    else
      out[#out + 1] = rest
    end
  end
  return out
end


local function is_host(declared, host, port)
  if declared:sub(1, 2) == "*." then
    return host:sub(-#declared + 1) == declared:sub(2) and #host > #declared - 1
  end
  return declared == host or port ~= "" and declared == host .. ":" .. port
end


function capabilities.allows_url(owner, url)
  local host, port = split(url)
  if not host then
    return nil, "a URL is http:// or https://, a host, perhaps a port, and a path"
  end
  for _, declared in ipairs(capabilities.hosts(owner)) do
    if is_host(declared, host, port) then return true end
  end
  return nil, ("put \"http:%s\" into `capabilities` of plugins/%s/plugin.lua"):format(host,
    owner.manifest.name)
end


function capabilities.allows_broker(owner, host)
  for _, rest in ipairs(each(owner.manifest, "amqp")) do
    local option = rest:match("^config%.(.+)$")
    local declared = rest
    if option then declared = option_of(owner.config or {}, option) end
    if declared == host then return true end
  end
  return nil, ("put \"amqp:%s\" into `capabilities` of plugins/%s/plugin.lua"):format(
    tostring(host), owner.manifest.name)
end


-- ---- tables ---------------------------------------------------------------------------------

function capabilities.is_open(m, kind)
  for _, rest in ipairs(each(m, kind)) do
    if rest == "" then return true end
  end
  return false
end


function capabilities.allows_statement(owner, statement_text)
  local allowed, named = {}, false
  for _, name in ipairs(each(owner.manifest, "sql")) do
    if name == "" then return true end
    allowed[name], named = true, true
  end
  if not named then return nil, "put \"sql\" into `capabilities`" end
  local names, why = statement.tables(statement_text)
  if not names then
    return nil, ("a plugin with tables of its own says what can be read in one way alone: %s")
      :format(why)
  end
  for _, name in ipairs(names) do
    if not allowed[name] then
      return nil, ("put \"sql:%s\" into `capabilities` of plugins/%s/plugin.lua"):format(name,
        owner.manifest.name)
    end
  end
  return true
end


-- ---- secrets --------------------------------------------------------------------------------

local function holds(value, ref)
  if type(value) ~= "table" then return false end
  if value["$env"] == ref["$env"] and value["$file"] == ref["$file"]
    and (value["$env"] or value["$file"]) then
    return true
  end
  for _, inner in pairs(value) do
    if holds(inner, ref) then return true end
  end
  return false
end


function capabilities.allows_secret(owner, ref)
  if type(ref) ~= "table" or holds(owner.config or {}, ref) then return true end
  for _, name in ipairs(each(owner.manifest, "secrets")) do
    if ref["$env"] == name then return true end
  end
  return nil, ("no option of %s holds it: give it one of type secret, or put \"secrets:%s\" into "
    .. "`capabilities`"):format(owner.manifest.name, tostring(ref["$env"] or "NAME"))
end


return capabilities
