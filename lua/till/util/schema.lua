-- till/util/schema - shapes of data: one object checks a value and is printed in OpenAPI.
--
--   local line = s.object({
--     variant_id = s.id("var"),
--     quantity = s.integer { min = 1, max = 1000, doc = "How many." },
--   }, { required = { "variant_id", "quantity" }, name = "NewLine" })
--
--   line:check(value)   -> value | nil, { { pointer = "/quantity", detail =, code = }, ... }
--   line:parse(texts)   -> the same for a list of texts of a query string
--   line:openapi(components) -> JSON Schema 2020-12; a schema with a `name` goes to `components`
--                          and is referred to, without `components` it is written out
--
-- Constructors: string integer boolean number array object map nullable any one_of ref money id
-- and const. Options of all: doc, example; of members of an object besides: default.
-- A `pattern` is Lua's; give the same thing as `regex` to have it printed.
-- Null is refused except by nullable() and any(); what is null stays the decoder's null.
--
-- A checker is a closure built once: run(value) -> value, errors (nil while all is well). Pointers
-- are made on the way back from a fault, so a value that fits costs no garbage.
local format = require "till.util.format"
local id = require "till.util.id"
local text = require "till.util.text"

local schema = {}

local methods = {}
local meta = { __index = methods }

local MAX_INT = 2 ^ 53 - 1
local MAX_STRING = 10000
local MAX_DIGITS = 32 -- of a number in a query; above, its pattern would take its time
local MAX_ERRORS = 50
local named = {}
local null, array_mt


--- The decoder's marks for null and for lists; set once by whoever decodes.
function schema.marks(json_null, json_array_mt)
  null, array_mt = json_null, json_array_mt
end


local function fail(detail, code)
  return nil, { { pointer = "", detail = detail, code = code } }
end


local function kind_of(value)
  if value == nil or value == null then return "null" end
  local kind = type(value)
  if kind == "table" then
    if getmetatable(value) == array_mt and array_mt or value[1] ~= nil then return "a list" end
    return "an object"
  end
  return kind == "boolean" and tostring(value) or "a " .. kind
end


local function wrong_type(wanted, value)
  return fail(("must be %s, not %s"):format(wanted, kind_of(value)), "type")
end


local function escaped(key)
  return (tostring(key):gsub("~", "~0"):gsub("/", "~1"))
end


-- Moves the errors of a member below its name.
local function collect(into, key, errors)
  into = into or {}
  for _, e in ipairs(errors) do
    if #into >= MAX_ERRORS then break end
    e.pointer = "/" .. escaped(key) .. e.pointer
    into[#into + 1] = e
  end
  return into
end


local function make(kind, opts, run, describe)
  return setmetatable({
    kind = kind, opts = opts, run = run, describe = describe, name = opts.name,
    default = opts.default,
  }, meta)
end


function methods:check(value)
  local out, errors = self.run(value)
  if errors then return nil, errors end
  return out
end


local function decorate(self, out)
  out.description = self.opts.doc
  out.default = self.opts.default
  if self.opts.example ~= nil then out.examples = { self.opts.example } end
  return out
end


function methods:openapi(components)
  if not self.name or not components then
    return decorate(self, self.describe(components or {}))
  end
  if not components[self.name] then
    components[self.name] = {}
    components[self.name] = decorate(self, self.describe(components))
  end
  return { ["$ref"] = "#/components/schemas/" .. self.name }
end


local function from_text(self, value)
  if self.kind == "integer" or self.kind == "number" then
    -- linear: of 32 bytes at most
    return #value <= MAX_DIGITS and value:find("^%-?%d+%.?%d*$") and tonumber(value) or value
  elseif self.kind == "boolean" then
    if value == "true" then return true elseif value == "false" then return false end
  elseif self.kind == "nullable" then
    return from_text(self.of, value)
  end
  return value
end


--- Of a query string: a list takes repeated and comma-separated values, all else exactly one.
function methods:parse(texts)
  if self.kind ~= "array" then
    if #texts > 1 then return fail("must be there once", "repeated") end
    return self.run(from_text(self, texts[1]))
  end
  local list = {}
  for _, part in ipairs(texts) do
    for item in part:gmatch("[^,]+") do list[#list + 1] = from_text(self.of, item) end
  end
  return self.run(list)
end


local function enum_of(values)
  local known, quoted = {}, {}
  for i, v in ipairs(values) do
    known[v] = true
    quoted[i] = '"' .. v .. '"'
  end
  return known, "must be " .. text.list(quoted)
end


local function check_length(value, min, max)
  local n = #value
  if n > max or n < min * 4 then n = text.length(value) end
  if n > max then
    return fail(("must have at most %d characters, it has %d"):format(max, n), "too_long")
  elseif n < min then
    return fail(min == 1 and "must not be empty" or
      ("must have at least %d characters"):format(min), "too_short")
  end
end


local function check_form(opts, value)
  if opts.format then
    local good, detail = format.check(opts.format, value)
    if not good then return fail(detail, "format") end
  end
  if opts.pattern and not value:find(opts.pattern) then
    return fail(opts.detail or "does not have the form that is asked for", "pattern")
  end
end


local function string_run(opts)
  local min, max = opts.min or 0, opts.max or MAX_STRING
  local known, enum_detail
  if opts.enum then known, enum_detail = enum_of(opts.enum) end
  return function(value)
    if type(value) ~= "string" then return wrong_type("a string", value) end
    if not text.clean(value) then
      if value:find("%z") then return fail("must not contain NUL", "nul") end
      return fail("must be UTF-8", "utf8")
    end
    if known then
      if not known[value] then return fail(enum_detail, "enum") end
      return value
    end
    local _, errors = check_length(value, min, max)
    if not errors then _, errors = check_form(opts, value) end
    return value, errors
  end
end


function schema.string(opts)
  opts = opts or {}
  if opts.format then format.check(opts.format, "") end
  return make("string", opts, string_run(opts), function()
    local out = { type = "string", enum = opts.enum, pattern = opts.regex }
    if not opts.enum then
      out.minLength = opts.min
      out.maxLength = not opts.format and (opts.max or MAX_STRING) or opts.max
    end
    for k, v in pairs(opts.format and format.openapi(opts.format) or {}) do out[k] = v end
    return out
  end)
end


local function with(opts, more)
  local out = {}
  for k, v in pairs(opts or {}) do out[k] = v end
  for k, v in pairs(more) do out[k] = v end
  return out
end


-- What is an id is also text as it should be.
function schema.id(prefix, opts)
  local self = schema.string(with(opts, { format = "id:" .. prefix }))
  local run = self.run
  function self.run(value)
    if id.valid(prefix, value) then return value end
    return run(value)
  end
  return self
end


local function check_range(value, min, max)
  if value < min then return fail(("must be at least %.14g"):format(min), "too_small") end
  if value > max then return fail(("must be at most %.16g"):format(max), "too_large") end
  return value
end


function schema.integer(opts)
  opts = opts or {}
  local min, max = opts.min or -MAX_INT, opts.max or MAX_INT
  return make("integer", opts, function(value)
    if type(value) ~= "number" then return wrong_type("a whole number", value) end
    if value ~= math.floor(value) then return fail("must be a whole number", "type") end
    return check_range(value, min, max)
  end, function() return { type = "integer", minimum = min, maximum = max } end)
end


function schema.number(opts)
  opts = opts or {}
  local min, max = opts.min or -MAX_INT, opts.max or MAX_INT
  return make("number", opts, function(value)
    if type(value) ~= "number" or value ~= value then return wrong_type("a number", value) end
    return check_range(value, min, max)
  end, function() return { type = "number", minimum = min, maximum = max } end)
end


function schema.boolean(opts)
  return make("boolean", opts or {}, function(value)
    if type(value) ~= "boolean" then return wrong_type("true or false", value) end
    return value
  end, function() return { type = "boolean" } end)
end


function schema.const(value, opts)
  return schema.string(with(opts, { enum = { value } }))
end


function schema.any(opts)
  return make("any", opts or {}, function(value) return value end, function() return {} end)
end


--- A file of a form: bytes.
function schema.file(opts)
  return make("file", opts or {}, function(value)
    if type(value) ~= "string" then return wrong_type("a file", value) end
    if value == "" then return fail("is empty", "too_short") end
    return value
  end, function() return { type = "string", contentMediaType = "application/octet-stream" } end)
end


function schema.nullable(of)
  local self = make("nullable", {}, function(value)
    if value == null or value == nil then return value end
    return of.run(value)
  end, function(components)
    local out = of:openapi(components)
    if type(out.type) == "string" and not out.enum then
      out.type = { out.type, "null" }
      return out
    end
    return { anyOf = { out, { type = "null" } } }
  end)
  self.of = of
  return self
end


function schema.ref(name)
  local self = make("ref", {}, function(value)
    local target = named[name]
    if not target then error("no schema is named " .. name) end
    return target.run(value)
  end)
  function self.openapi(_, components)
    if not named[name] then error("no schema is named " .. name) end
    return named[name]:openapi(components or {})
  end
  return self
end


--- Called by the composites of till.util.schema_parts; not for others.
schema.part = {
  is_full = function(errors) return errors ~= nil and errors[MAX_ERRORS] ~= nil end,
  make = make, fail = fail, wrong_type = wrong_type, collect = collect, named = named,
  is_null = function(value) return value == nil or value == null end,
  is_list = function(value)
    if type(value) ~= "table" then return false end
    if array_mt and getmetatable(value) == array_mt then return true end
    return value[1] ~= nil or next(value) == nil and not array_mt
  end,
  is_object = function(value)
    return type(value) == "table" and value[1] == nil
      and (not array_mt or getmetatable(value) ~= array_mt)
  end,
}

require("till.util.schema_parts")(schema)


return schema
