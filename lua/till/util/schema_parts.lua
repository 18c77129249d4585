-- till/util/schema_parts - the schemas that are made of others: array, object, map, one_of, money.
-- A part of till.util.schema, which is the manual.
--
-- Nobody looks on once there are as many errors as are told: a body of 1 MB may be wrong in a
-- hundred thousand places, and the worker does nothing else meanwhile.
local text = require "till.util.text"

local GUESSES = 10


local function add_array(schema, part)
  local function items_of(of, list)
    local errors
    for i = 1, #list do
      if part.is_full(errors) then break end
      local value, bad = of.run(list[i])
      if bad then errors = part.collect(errors, i - 1, bad) else list[i] = value end
    end
    return list, errors
  end

  function schema.array(of, opts)
    opts = opts or {}
    local min, max = opts.min or 0, opts.max or 1000
    local self = part.make("array", opts, function(value)
      if not part.is_list(value) then return part.wrong_type("a list", value) end
      if #value < min then
        return part.fail(("must have at least %d entries"):format(min), "too_few")
      elseif #value > max then
        return part.fail(("must have at most %d entries"):format(max), "too_many")
      end
      return items_of(of, value)
    end, function(components)
      return { type = "array", items = of:openapi(components), minItems = opts.min,
        maxItems = max }
    end)
    self.of = of
    return self
  end
end


local function sorted_keys(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end


-- What may be meant is looked for a few times only: it costs far more than to refuse.
local function unknown(errors, part, key, names)
  local near = not (errors and errors[GUESSES]) and text.nearest(tostring(key), names)
  local detail = near and ("is not known here; was %s meant?"):format(near)
    or #names == 0 and "is not known here; nothing is expected"
    or "is not known here; leave it out"
  local _, bad = part.fail(detail, "unknown_field")
  return part.collect(errors, key, bad)
end


-- Members first, in their order, then what is missing, then what is too much.
local function object_run(part, fields, names, required, additional)
  local function extra(value, errors)
    for key, v in pairs(value) do
      if part.is_full(errors) then break end
      if not fields[key] then
        if additional == false then
          errors = unknown(errors, part, key, names)
        elseif additional ~= true then
          local _, bad = additional.run(v)
          if bad then errors = part.collect(errors, key, bad) end
        end
      end
    end
    return errors
  end

  local function absent(value, name, errors)
    if required[name] then
      local _, bad = part.fail("is missing", "required")
      return part.collect(errors, name, bad)
    end
    value[name] = fields[name].default
    return errors
  end

  return function(value)
    if not part.is_object(value) then return part.wrong_type("an object", value) end
    local errors
    for i = 1, #names do
      local name = names[i]
      local member = value[name]
      if member == nil then
        errors = absent(value, name, errors)
      else
        local out, bad = fields[name].run(member)
        if bad then errors = part.collect(errors, name, bad) else value[name] = out end
      end
    end
    return value, extra(value, errors)
  end
end


local function object_openapi(fields, names, required_list, additional)
  return function(components)
    local properties = {}
    for _, name in ipairs(names) do properties[name] = fields[name]:openapi(components) end
    local extra = additional
    if type(additional) == "table" then extra = additional:openapi(components) end
    return { type = "object", properties = properties, additionalProperties = extra,
      required = #required_list > 0 and required_list or nil }
  end
end


local function add_object(schema, part)
  function schema.object(fields, opts)
    opts = opts or {}
    local names, required, list = sorted_keys(fields), {}, opts.required or {}
    for _, name in ipairs(list) do
      if not fields[name] then error("required field is not there: " .. name, 2) end
      required[name] = true
    end
    local additional = opts.additional or false
    local self = part.make("object", opts,
      object_run(part, fields, names, required, additional),
      object_openapi(fields, names, list, additional))
    self.fields, self.required = fields, required
    if opts.name then
      if part.named[opts.name] then error("a schema is named twice: " .. opts.name, 2) end
      part.named[opts.name] = self
    end
    return self
  end

  function schema.map(of, opts)
    return part.make("map", opts or {}, object_run(part, {}, {}, {}, of),
      function(components)
        return { type = "object", additionalProperties = of:openapi(components) }
      end)
  end
end


local function add_one_of(schema, part)
  function schema.one_of(list)
    local first_opts = { doc = list.doc, name = list.name, example = list.example }
    local self = part.make("one_of", first_opts, function(value)
      local closest
      for _, alternative in ipairs(list) do
        local out, errors = alternative.run(value)
        if not errors then return out end
        if not closest or #errors < #closest then closest = errors end
      end
      return nil, closest
    end, function(components)
      local forms = {}
      for i, alternative in ipairs(list) do forms[i] = alternative:openapi(components) end
      return { anyOf = forms }
    end)
    if list.name then part.named[list.name] = self end
    return self
  end
end


return function(schema)
  local part = schema.part
  add_array(schema, part)
  add_object(schema, part)
  add_one_of(schema, part)

  local money = schema.object({
    amount = schema.integer { doc = "In minor units of the currency: 1999 is 19.99 GYD." },
    currency = schema.string { format = "currency" },
  }, { required = { "amount", "currency" }, name = "Money",
    example = { amount = 1999, currency = "GYD" } })

  function schema.money() return money end
end
