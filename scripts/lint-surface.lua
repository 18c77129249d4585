-- lint-surface.lua [--write] - what is written from lua/till/plugin/: docs/hooks.md from the hooks,
-- the list in docs/plugins.md and lua/types/ from the surface. Stale ones are violations; --write
-- writes them.
package.path = "lua/?.lua;" .. package.path

local HOOKS = require "till.plugin.hooks"
local WORDS = require "till.plugin.hooks_doc"
local TYPES = require "till.plugin.surface_types"
local surface = require "till.plugin.surface"

local WRITES = arg[1] == "--write"
local violations = 0


local function complain(text)
  violations = violations + 1
  print(text)
end


local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read("*a")
  file:close()
  return text
end


local function keep(path, text)
  if read(path) == text then return end
  if not WRITES then
    return complain(path .. ":1: is stale: scripts/lint-surface --write")
  end
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  print(path)
end


local function sorted(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = key end
  table.sort(out)
  return out
end


-- "a: integer; b?: string" -> { { name, type, optional } ... }
local function split(text)
  local out = {}
  for part in text:gmatch("[^;]+") do
    local name, type_ = part:match("^%s*([%w_%.]+%??):%s*(.-)%s*$")
    if not name then error("not \"name: type\": " .. part) end
    out[#out + 1] = { name:gsub("%?$", ""), type_, name:sub(-1) == "?" }
  end
  return out
end


-- ---- docs/hooks.md ----------------------------------------------------------------------------

local ON_ERROR = {
  skip = "it is left out, the others count",
  stop = "whoever asked stops, with an error",
  retry = "the others are asked all the same; then the event comes again",
}


local function asked(terms)
  if terms.at_load then return "every plugin, while a generation loads" end
  return terms.many and "every plugin that has it, by priority" or "one: by name, or the first"
end


local function duration(ms)
  return ms >= 1000 and ("%g s"):format(ms / 1000) or ms .. " ms"
end


local function terms_of(terms)
  local out = { "Asked: " .. asked(terms) .. ".",
    terms.may_yield and "May wait." or "May not wait.",
    "Budget: " .. duration(terms.budget_ms) .. ".",
    terms.at_load and "A failure refuses the generation."
      or "A failure: " .. ON_ERROR[terms.on_error] .. "." }
  if terms.rule then out[#out + 1] = "Merchants' rules may answer it too." end
  return table.concat(out, " ")
end


local function outcomes_of(terms)
  local names = sorted(terms.outcomes)
  for i, name in ipairs(names) do names[i] = "`" .. name .. "`" end
  return "Outcomes: " .. table.concat(names, ", ") .. "; any other is a failure."
end


local function hook_section(hook)
  local terms, words = HOOKS[hook], WORDS[hook]
  local names = { "config" }
  for _, taken in ipairs(words.takes) do names[#names + 1] = taken[1] end
  local out = { ("## %s(%s)"):format(hook, table.concat(names, ", ")), words.doc, terms_of(terms) }
  local list = {}
  for _, taken in ipairs(words.takes) do
    list[#list + 1] = ("- `%s`: `%s`. %s"):format(unpack(taken))
  end
  list[#list + 1] = words.gives and ("- answers `%s`; nil: %s."):format(words.gives, words.none)
    or "- answers nothing; `nil, err` is a failure."
  out[#out + 1] = table.concat(list, "\n")
  if terms.outcomes then out[#out + 1] = outcomes_of(terms) end
  return table.concat(out, "\n\n")
end


local function type_section(type_)
  local out = { ("### %s"):format(type_[1]), type_[2] }
  local rows = {}
  for _, field in ipairs(type_[3]) do
    rows[#rows + 1] = ("| `%s` | `%s` | %s |"):format(field[1], (field[2]:gsub("|", "\\|")),
      field[3] or "")
  end
  if #rows > 0 then
    out[#out + 1] = "| field | type | |\n|---|---|---|\n" .. table.concat(rows, "\n")
  end
  return table.concat(out, "\n\n")
end


-- Only those that hooks name, and what these name in turn.
local function named_types()
  local by_name, out, seen = {}, {}, {}
  for _, type_ in ipairs(TYPES) do by_name[type_[1]] = type_ end

  local function name(text)
    for found in (text or ""):gmatch("till%.%u%w*") do
      if by_name[found] and not seen[found] then
        seen[found] = true
        for _, field in ipairs(by_name[found][3]) do name(field[2]) end
      end
    end
  end

  for _, words in pairs(WORDS) do
    for _, taken in ipairs(words.takes) do name(taken[2]) end
    name(words.gives)
  end
  for _, type_ in ipairs(TYPES) do
    if seen[type_[1]] then out[#out + 1] = type_ end
  end
  return out
end


local HOOKS_HEAD = [[
# Hooks

Written from `lua/till/plugin/hooks.lua` and `hooks_doc.lua` by `scripts/lint-surface --write`; do
not edit it here. [plugins.md](plugins.md) tells how a plugin is made.

Every handler is called `fn(config, ...)` with its options. It returns a value; or `nil` when it has
nothing to say; or `nil, err` with `require("till.util.err").new(code, message)` for a failure. A
refusal (a declined card) is a value. What is thrown is logged with its traceback, counted, and a
failure. A hook that may wait is ended at its next wait when its budget is over. Amounts are whole
minor units, times are milliseconds where no unit stands.
]]


local function hooks_md()
  local out = { HOOKS_HEAD }
  for _, hook in ipairs(sorted(HOOKS)) do
    if WORDS[hook] then
      out[#out + 1] = hook_section(hook) .. "\n"
    else
      complain("lua/till/plugin/hooks_doc.lua:1: says nothing of the hook " .. hook)
    end
  end
  for hook in pairs(WORDS) do
    if not HOOKS[hook] then
      complain("lua/till/plugin/hooks_doc.lua:1: there is no hook " .. hook)
    end
  end
  out[#out + 1] = "## Types\n"
  for _, type_ in ipairs(named_types()) do out[#out + 1] = type_section(type_) .. "\n" end
  return table.concat(out, "\n")
end


-- ---- the list in docs/plugins.md --------------------------------------------------------------

local function signature(head, entry)
  local names = {}
  for _, param in ipairs(split(entry[2])) do
    names[#names + 1] = param[3] and "[" .. param[1] .. "]" or param[1]
  end
  return ("%s(%s)"):format(head .. entry[1], table.concat(names, ", "))
end


local function escape(text)
  return (text:gsub("|", "\\|"))
end


local function row(head, entry)
  local gives = entry[3] == "" and "nothing" or "`" .. escape(entry[3]) .. "`"
  local doc = entry[4]
  if entry.deprecated then doc = doc .. " **Deprecated** since " .. entry.deprecated .. "." end
  return ("| `%s` | `%s` | %s | %s |"):format(signature(head, entry),
    entry[2] == "" and "-" or escape(entry[2]), gives, escape(doc))
end


local function module_section(module)
  local needs = module.needs and (" Needs the capability `%s`."):format(
    module.needs == "http" and "http:HOST" or module.needs) or ""
  local out = { ("### %s\n\n%s%s\n"):format(module.module, module.doc, needs),
    "| | takes | gives | |\n|---|---|---|---|" }
  for _, entry in ipairs(module.functions) do out[#out + 1] = row("", entry) end
  for class, entries in pairs(module.methods or {}) do
    for _, entry in ipairs(entries) do out[#out + 1] = row(class .. ":", entry) end
  end
  for _, value in ipairs(module.values or {}) do
    out[#out + 1] = ("| `%s` | | `%s` | %s |"):format(value[1], value[2], value[3])
  end
  return table.concat(out, "\n")
end


local BEGIN = "<!-- surface: written by scripts/lint-surface -\45write -->\n"
local END = "<!-- /surface -->\n"


local function plugins_md()
  local text = read "docs/plugins.md"
  local _, from = text:find(BEGIN, 1, true)
  local to = text:find(END, 1, true)
  if not from or not to then
    complain("docs/plugins.md:1: the marks around the list are gone")
    return text
  end
  local out = {}
  for _, module in ipairs(surface.modules) do out[#out + 1] = module_section(module) .. "\n" end
  return text:sub(1, from) .. "\n" .. table.concat(out, "\n") .. "\n" .. text:sub(to)
end


-- ---- lua/types/ ---------------------------------------------------------------------------------

local function annotate(out, head, entry)
  out[#out + 1] = "--- " .. entry[4]
  if entry.deprecated then out[#out + 1] = "---@deprecated since " .. entry.deprecated end
  local names = {}
  for _, param in ipairs(split(entry[2])) do
    names[#names + 1] = param[1]
    out[#out + 1] = ("---@param %s%s %s"):format(param[1], param[3] and "?" or "", param[2])
  end
  for _, result in ipairs(split(entry[3])) do
    out[#out + 1] = ("---@return %s %s"):format(result[2], result[1])
  end
  out[#out + 1] = ("function %s%s(%s) end\n"):format(head, entry[1], table.concat(names, ", "))
end


local function short(module)
  return module:match("([%w_]+)$")
end


local function module_types(module)
  local name = short(module.module) .. "_"
  local out = { "---@meta " .. module.module, "-- Written by scripts/lint-surface -\45write.\n",
    "--- " .. module.doc, "---@class " .. module.module }
  for _, value in ipairs(module.values or {}) do
    out[#out + 1] = ("---@field %s %s %s"):format(value[1], value[2], value[3])
  end
  out[#out + 1] = ("local %s = {}\n"):format(name)
  for _, entry in ipairs(module.functions) do annotate(out, name .. ".", entry) end
  for class, entries in pairs(module.methods or {}) do
    local object = "of_" .. class:match("(%w+)$"):lower()
    out[#out + 1] = ("---@class %s\nlocal %s = {}\n"):format(class, object)
    for _, entry in ipairs(entries) do annotate(out, object .. ":", entry) end
  end
  out[#out + 1] = "return " .. name .. "\n"
  return table.concat(out, "\n")
end


local function class_types()
  local out = { "---@meta", "-- Written by scripts/lint-surface -\45write.\n" }
  for _, type_ in ipairs(TYPES) do
    out[#out + 1] = "--- " .. type_[2]
    out[#out + 1] = "---@class " .. type_[1]
    for _, field in ipairs(type_[3]) do
      out[#out + 1] = ("---@field %s %s %s"):format(field[1], field[2], field[3] or "")
        :gsub("%s+$", "")
    end
    out[#out + 1] = ""
  end
  out[#out + 1] = "--- What handler.lua returns: a function for each hook of plugin.lua."
  out[#out + 1] = "---@class till.Handler"
  for _, hook in ipairs(sorted(HOOKS)) do
    local words, params = WORDS[hook] or { takes = {} }, { "config: table" }
    for _, taken in ipairs(words.takes) do params[#params + 1] = taken[1] .. ": " .. taken[2] end
    out[#out + 1] = ("---@field [\"%s\"]? fun(%s): %s?, till.Err?"):format(hook,
      table.concat(params, ", "), words.gives or "any")
  end
  return table.concat(out, "\n") .. "\n"
end


keep("docs/hooks.md", hooks_md())
keep("docs/plugins.md", plugins_md())
for _, module in ipairs(surface.modules) do
  local path = "lua/types/" .. module.module:gsub("%.", "/") .. ".lua"
  if WRITES then os.execute("mkdir -p " .. path:match("^(.*)/")) end
  keep(path, module_types(module))
end
keep("lua/types/till/types.lua", class_types())

os.exit((violations == 0 or WRITES) and 0 or 1)
