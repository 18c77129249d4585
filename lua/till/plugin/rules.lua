-- till/plugin/rules - merchants' rules as a generation holds them: rules/<name>.json is the
-- manifest, rules/<name>.lua the text.
--
--   rules.load() -> list, by priority and name; one that is not right refuses the generation
--   rules.check(manifest) -> nil, or a list of { pointer, detail, code }
--   rules.check_text(text) -> nil, or such a list      what can be said without parsing it
--   rules.make(manifest, text) -> rule                 of what was checked
--   rules.hash(manifest, text) -> 64 hex digits: what is named in the trace of a price
--   rules.HOOKS                                        names of the hooks that rules may answer
--
-- rule = { name, title, hook, version, hash, text, args, when, condition, priority, starts_at,
--   ends_at }. args are resolved: with the defaults of the schema.
--
-- The text is never parsed in a worker: this LuaJIT can be crashed by plain text. Its syntax is
-- looked at in the box (till.prim.box) before it gets into a generation.
local bundle = require "till.prim.bundle"
local config = require "till.plugin.config"
local crypto = require "till.prim.crypto"
local HOOKS = require "till.plugin.hooks"
local json = require "till.prim.json"
local s = require "till.util.schema"
local text = require "till.util.text"
local when = require "till.rule.when"

local rules = { HOOKS = {} }

rules.MAX_TEXT = 65536
rules.MAX_OPTIONS = 65536 -- bytes of schema and of args, each, as JSON
rules.MAX_LIVE = 500

local MAX_NAME, MAX_DEPTH = 255, 30

for hook, terms in pairs(HOOKS) do
  if terms.rule then rules.HOOKS[#rules.HOOKS + 1] = hook end
end
table.sort(rules.HOOKS)

local DATE = s.string { pattern = "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$" }
local PRIORITY = s.integer { min = 0, max = 100000 }

local shape = s.object({
  name = s.string { min = 1, max = 64, pattern = "^%l[%l%d-]*$" },
  title = s.string { min = 1, max = 200 }, hook = s.string { enum = rules.HOOKS },
  version = s.integer { min = 1 }, schema = s.any {}, args = s.any {}, when = s.any {},
  priority = PRIORITY, starts_at = DATE, ends_at = DATE,
}, { required = { "name", "title", "hook", "version", "schema", "args", "when", "priority" } })


local function fault(pointer, detail, code)
  return { { pointer = pointer, detail = detail, code = code } }
end


-- "config.skus[2].of: must be a SKU" -> "/args/skus/1/of", "must be a SKU"
local function pointed(prefix, sentence)
  local path, detail = sentence:match("^config%.?([^:]*): (.*)$")
  if not path then return fault(prefix, sentence, "option") end
  local pointer = path:gsub("%[(%d+)%]", function(n) return "." .. tonumber(n) - 1 end)
  return fault(prefix .. "/" .. pointer:gsub("%.", "/"), detail, "option")
end


local function is_plain(value)
  return type(value) == "table" and value[1] == nil and getmetatable(value) ~= json.array_mt
end


-- A rule is told no secrets: nothing could keep it from putting one into a label.
local function holds_secret(spec)
  if type(spec) ~= "table" then return spec == "secret" end
  if spec.type == "secret" or spec.of ~= nil and holds_secret(spec.of) then return true end
  for _, field in pairs(type(spec.fields) == "table" and spec.fields or {}) do
    if holds_secret(field) then return true end
  end
  return false
end


local function check_schema(schema)
  if not is_plain(schema) then return fault("/schema", "must be an object of options", "type") end
  if #json.encode(schema) > rules.MAX_OPTIONS then
    return fault("/schema", "is too large", "too_large")
  end
  local why = config.check_spec(schema)
  if why then return pointed("/schema", why) end
  for name, spec in pairs(schema) do
    if holds_secret(spec) then
      return fault("/schema/" .. name, "a rule gets no secrets", "option")
    end
  end
end


-- Names that the box cannot be told of (core/vm/box/value.c), or tables too deep.
local function is_too_far(value, depth)
  if type(value) ~= "table" then return false end
  if depth > MAX_DEPTH then return true end
  for key, inner in pairs(value) do
    if #tostring(key) > MAX_NAME or is_too_far(inner, depth + 1) then return true end
  end
  return false
end


local function check_args(schema, args)
  if not is_plain(args) then return fault("/args", "must be an object of values", "type") end
  if #json.encode(args) > rules.MAX_OPTIONS then
    return fault("/args", "is too large", "too_large")
  end
  local resolved, why = config.resolve(schema, args)
  if why then return pointed("/args", why) end
  if is_too_far(resolved, 1) then
    return fault("/args", ("names have at most %d bytes, and tables stand at most %d deep in one"
      .. " another"):format(MAX_NAME, MAX_DEPTH), "too_large")
  end
end


local function check_when(spec)
  if not is_plain(spec) then return fault("/when", "must be an object of conditions", "type") end
  local errors = when.check(spec)
  for _, e in ipairs(errors or {}) do e.pointer = "/when" .. e.pointer end
  return errors
end


local function check_window(m)
  if m.starts_at and m.ends_at and m.starts_at >= m.ends_at then
    return fault("/ends_at", "must be after starts_at", "range")
  end
end


function rules.check(m)
  local _, errors = shape:check(m)
  if errors then return errors end
  local in_schema, out = check_schema(m.schema), {}
  local in_args = not in_schema and check_args(m.schema, m.args) or nil
  for _, list in ipairs { in_schema or {}, in_args or {}, check_when(m.when) or {},
    check_window(m) or {} } do
    for _, e in ipairs(list) do out[#out + 1] = e end
  end
  return out[1] and out or nil
end


function rules.check_text(source)
  if #source > rules.MAX_TEXT then
    return fault("/text", ("may have %d bytes, it has %d"):format(rules.MAX_TEXT, #source),
      "too_large")
  elseif source:sub(1, 1) == "\27" then
    return fault("/text", "is bytecode; a rule is text", "contract")
  elseif not text.clean(source) then
    return fault("/text", "must be UTF-8 without NUL", "utf8")
  end
end


function rules.hash(manifest, source)
  return crypto.hex(crypto.sha256(json.encode(manifest) .. "\0" .. source))
end


function rules.make(m, source)
  return { name = m.name, title = m.title, hook = m.hook, version = m.version, text = source,
    hash = rules.hash(m, source), args = assert(config.resolve(m.schema, m.args)), when = m.when,
    condition = when.compile(m.when), priority = m.priority, starts_at = m.starts_at,
    ends_at = m.ends_at }
end


local function refuse(path, errors)
  local e = errors[1]
  error(("%s: %s %s"):format(path, e.pointer, e.detail), 0)
end


local function load_one(name)
  local path, source_path = ("rules/%s.json"):format(name), ("rules/%s.lua"):format(name)
  local m, why = json.decode(bundle.read(path))
  if not m then error(("%s: %s"):format(path, tostring(why)), 0) end
  local source = bundle.read(source_path)
  if not source then error(source_path .. ": it is not there", 0) end
  local errors = is_plain(m) and rules.check(m) or not is_plain(m)
    and fault("", "must be an object", "type")
  if errors then refuse(path, errors) end
  if m.name ~= name then
    refuse(path, fault("/name", "is " .. m.name .. ", the file says " .. name, "name"))
  end
  errors = rules.check_text(source)
  if errors then refuse(source_path, errors) end
  return rules.make(m, source)
end


local function by_order(a, b)
  if a.priority ~= b.priority then return a.priority < b.priority end
  return a.name < b.name
end


local function names_in_bundle()
  local names, texts = {}, {}
  for _, path in ipairs(bundle.list("rules/")) do
    local name, ext = path:match("^rules/([^/]+)%.(%l+)$")
    if ext == "json" then
      names[#names + 1] = name
    elseif ext == "lua" then
      texts[#texts + 1] = name
    else
      error(path .. ": a rule is rules/<name>.json and rules/<name>.lua", 0)
    end
  end
  if #texts > #names then error("rules/: there is a text without its manifest", 0) end
  return names
end


function rules.load()
  local out = {}
  for i, name in ipairs(names_in_bundle()) do out[i] = load_one(name) end
  if #out > rules.MAX_LIVE then
    error(("rules/: %d rules; at most %d may be live"):format(#out, rules.MAX_LIVE), 0)
  end
  table.sort(out, by_order)
  return out
end


return rules
