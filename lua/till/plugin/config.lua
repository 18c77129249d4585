-- till/plugin/config - a plugin's options: what its manifest says of them, and what was configured.
--
--   config.check_spec(spec)           -> nil, or a sentence ("config.skus.of: no such type: sky")
--   config.resolve(spec, given)       -> options with defaults | nil, sentence
--   config.deprecated(spec, given)    -> { { option, what to do instead }, ... }
--
-- An option is { type =, doc =, default =, required =, min =, max =, of =, fields =, values =,
-- deprecated = "what to do instead" }:
--   string   min, max: characters           integer  min, max
--   decimal  a text such as "9.975"         boolean
--   enum     values = { ... }               sku
--   secret   env("NAME") or file("/path"), read when asked for: till.prim.conf.secret(option)
--   array    of = a type's name or an option; min, max: entries
--   map      of; any names                  table    fields = { name = option }
local text = require "till.util.text"
local format = require "till.util.format"

local config = {}

local FIELDS = { type = "string", doc = "string", default = true, required = "boolean",
  min = "number", max = "number", of = true, fields = "table", values = "table",
  label = "string", unit = "string", deprecated = "string" }

local check = {}


local function sorted(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = tostring(key) end
  table.sort(out)
  return out
end


local function in_range(value, n, spec, unit)
  if spec.min and n < spec.min then return nil, ("at least %g%s"):format(spec.min, unit) end
  if spec.max and n > spec.max then return nil, ("at most %g%s"):format(spec.max, unit) end
  return value
end


function check.string(spec, value)
  if type(value) ~= "string" then return nil, "must be a text" end
  if not text.clean(value) then return nil, "must be UTF-8 without NUL" end
  return in_range(value, text.length(value), spec, " characters")
end


function check.integer(spec, value)
  if type(value) ~= "number" or value ~= math.floor(value) then
    return nil, "must be a whole number"
  end
  return in_range(value, value, spec, "")
end


function check.boolean(_, value)
  if type(value) ~= "boolean" then return nil, "must be true or false" end
  return value
end


function check.decimal(spec, value)
  if type(value) ~= "string" or not format.check("decimal", value) then
    return nil, "must be a decimal number in quotes, such as \"9.975\""
  end
  return in_range(value, tonumber(value), spec, "")
end


function check.enum(spec, value)
  for _, known in ipairs(spec.values) do
    if known == value then return value end
  end
  return nil, "must be " .. text.list(spec.values)
end


function check.sku(_, value)
  if type(value) ~= "string" or not format.check("sku", value) then
    return nil, "must be a SKU"
  end
  return value
end


-- A secret stays a reference: it is read when it is needed and never stands in the configuration.
-- A text is taken for tests and doubles.
function check.secret(_, value)
  if type(value) == "string" or type(value) == "table" then return value end
  return nil, "must be env(\"NAME\") or file(\"/path\")"
end


local function inner(of)
  return type(of) == "string" and { type = of } or of
end


local function value_of(spec, value, at)
  local out, why = check[spec.type](spec, value, at)
  if why then
    if why:find("^config%.") then return nil, why end
    return nil, ("%s: %s"):format(at, why)
  end
  return out
end


function check.array(spec, value, at)
  if type(value) ~= "table" or next(value) ~= nil and value[1] == nil then
    return nil, "must be a list"
  end
  local good, why = in_range(true, #value, spec, "")
  if not good then return nil, why end
  local out, of = {}, inner(spec.of)
  for i, item in ipairs(value) do
    out[i], why = value_of(of, item, ("%s[%d]"):format(at, i))
    if why then return nil, why end
  end
  return out
end


function check.map(spec, value, at)
  if type(value) ~= "table" or value[1] ~= nil then return nil, "must be a table" end
  local out, of = {}, inner(spec.of)
  for key, item in pairs(value) do
    local why
    out[key], why = value_of(of, item, ("%s.%s"):format(at, tostring(key)))
    if why then return nil, why end
  end
  return out
end


local function unknown(value, fields, at)
  for _, key in ipairs(sorted(value)) do
    if not fields[key] then
      local near = text.nearest(key, sorted(fields))
      return ("%s.%s: there is no such option%s"):format(at, key,
        near and "; was " .. near .. " meant?" or "")
    end
  end
end


local function fields_of(fields, value, at)
  local why = unknown(value, fields, at)
  if why then return nil, why end
  local out = {}
  for _, name in ipairs(sorted(fields)) do
    local spec, given = fields[name], value[name]
    local here = at .. "." .. name
    if given == nil then given = spec.default end
    if given ~= nil then
      out[name], why = value_of(spec, given, here)
      if why then return nil, why end
    elseif spec.required then
      return nil, ("%s: is needed%s"):format(here, spec.doc and ". " .. spec.doc or "")
    end
  end
  return out
end


function check.table(spec, value, at)
  if type(value) ~= "table" or value[1] ~= nil then return nil, "must be a table" end
  return fields_of(spec.fields, value, at)
end


local check_option


local function is_list_of_texts(list)
  for _, value in ipairs(list or {}) do
    if type(value) ~= "string" then return false end
  end
  return list ~= nil and #list > 0
end


local function check_parts(spec, at)
  if spec.type == "enum" and not is_list_of_texts(spec.values) then
    return at .. ": an enum needs `values`"
  elseif spec.type == "array" or spec.type == "map" then
    if spec.of == nil then return at .. ": " .. spec.type .. " needs `of`" end
    return check_option(inner(spec.of), at .. ".of")
  elseif spec.type == "table" then
    if not spec.fields then return at .. ": a table needs `fields`" end
    for _, name in ipairs(sorted(spec.fields)) do
      local why = check_option(spec.fields[name], at .. "." .. name)
      if why then return why end
    end
  end
end


function check_option(spec, at)
  if type(spec) ~= "table" then return at .. ": must be a table such as { type = \"integer\" }" end
  for _, field in ipairs(sorted(spec)) do
    local wanted = FIELDS[field]
    if not wanted then return ("%s: an option has no field `%s`"):format(at, field) end
    if wanted ~= true and type(spec[field]) ~= wanted then
      return ("%s.%s: must be a %s"):format(at, field, wanted)
    end
  end
  if not check[spec.type] then
    return ("%s: no such type: %s; there are %s"):format(at, tostring(spec.type),
      text.list(sorted(check), "and"))
  end
  local why = check_parts(spec, at)
  if why or spec.default == nil then return why end
  local _, wrong = value_of(spec, spec.default, at .. ".default")
  return wrong
end


function config.check_spec(spec)
  for _, name in ipairs(sorted(spec)) do
    local why = check_option(spec[name], "config." .. name)
    if why then return why end
  end
end


function config.resolve(spec, given)
  return fields_of(spec, given or {}, "config")
end


function config.deprecated(spec, given)
  local out = {}
  for _, name in ipairs(sorted(given or {})) do
    if spec[name] and spec[name].deprecated then out[#out + 1] = { name, spec[name].deprecated } end
  end
  return out
end


--- Can it run without a word in the configuration?
function config.is_complete(spec)
  return (config.resolve(spec, {})) ~= nil
end


return config
