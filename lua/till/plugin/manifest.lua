-- till/plugin/manifest - reads plugin.lua: data, never run, so that anything may read it.
--
--   manifest.read(name, text) -> manifest; throws "plugins/NAME/plugin.lua:LINE: reason"
--
--   name = "promo-bundle"     the folder's name: small letters, digits, hyphens
--   version = "1.2.0"         semantic versioning
--   api = 1                   of the interface between plugin and server
--   priority = 400            higher is asked first; 100 when absent
--   hooks = { "promo.evaluate" }
--   config = { option = {...} }          see till.plugin.config
--   capabilities = { "http:api.example.com", "sql" }   see till.plugin.capabilities
--   waits = false             no hook of it waits for anything: they are called where they are
--                             asked, without a coroutine of their own; a wait is then a fault.
--                             What such a payment plugin answers is so when the transaction around
--                             it is committed, and not before: nobody outside was told
--   schedules = { sync = "every 15 minutes", report = "config.report_at" }
--                             jobs that come again and again, of the hook job.run: when, as
--                             till.util.schedule reads it, or the option that says so ("off":
--                             never)
--   opt_in = true             active only where the configuration says enabled = true
--   title, doc                for people
local capabilities = require "till.plugin.capabilities"
local config = require "till.plugin.config"
local data = require "till.prim.data"
local schedule = require "till.util.schedule"
local surface = require "till.plugin.surface"
local text = require "till.util.text"
local HOOKS = require "till.plugin.hooks"

local manifest = {}

local MOST_NAME = 50 -- types of events and names of schedules are made of it
local FIELDS = { name = "string", version = "string", api = "number", priority = "number",
  hooks = "table", config = "table", capabilities = "table", opt_in = "boolean", waits = "boolean",
  title = "string", doc = "string", schedules = "table" }


local function sorted(map)
  local out = {}
  for key in pairs(map) do out[#out + 1] = tostring(key) end
  table.sort(out)
  return out
end


-- Parsed data has no lines any more; the first place where the word stands is the best guess.
local function line_of(source, word)
  local n = 0
  -- linear: the text ends with a line end
  for line in (source .. "\n"):gmatch("(.-)\n") do
    n = n + 1
    local code = line:gsub("%-%-.*$", "")
    if code:find(word, 1, true) then return n end
  end
end


local function refuse(name, source, word, sentence)
  local line = word and line_of(source, word)
  error(("plugins/%s/plugin.lua:%s %s"):format(name, line and line .. ":" or "", sentence), 0)
end


local function check_fields(m, refused)
  for _, field in ipairs(sorted(m)) do
    local wanted = FIELDS[field]
    if not wanted then
      local near = text.nearest(field, sorted(FIELDS))
      refused(field, ("there is no field `%s`%s"):format(field,
        near and "; was `" .. near .. "` meant?" or ""))
    elseif type(m[field]) ~= wanted then
      refused(field, ("`%s` must be a %s"):format(field, wanted))
    end
  end
  for _, field in ipairs { "name", "version", "api", "hooks" } do
    if m[field] == nil then refused(nil, ("`%s` is missing"):format(field)) end
  end
end


local function check_values(m, name, refused)
  if m.name ~= name then
    refused("name", ("`name` is %s, the folder's is %s"):format(m.name, name))
  elseif not name:find("^%l[%l%d-]*$") then
    refused("name", "a name has small letters, digits and hyphens")
  elseif #name > MOST_NAME then
    refused("name", ("a name has at most %d characters"):format(MOST_NAME))
  -- linear: of a plugin's manifest
  elseif not m.version:find("^%d+%.%d+%.%d+[%w%.%+-]*$") then
    refused("version", "`version` must be like 1.2.0")
  elseif m.api % 1 ~= 0 or m.api < surface.OLDEST or m.api > surface.API then
    refused("api", ("it was written for api %g, this server has %s: %s"):format(m.api,
      surface.OLDEST == surface.API and surface.API or surface.OLDEST .. " to " .. surface.API,
      m.api > surface.API and "take a newer server, or an older plugin" or "take a newer plugin"))
  elseif m.priority and (m.priority % 1 ~= 0 or m.priority < 0 or m.priority > 1000) then
    refused("priority", "`priority` is a whole number from 0 to 1000")
  end
end


local function check_hooks(m, refused)
  local seen = {}
  for _, hook in ipairs(m.hooks) do
    if not HOOKS[hook] then
      local near = text.nearest(tostring(hook), sorted(HOOKS))
      refused(tostring(hook), ("there is no hook %s%s"):format(tostring(hook),
        near and "; was " .. near .. " meant?" or "; see docs/hooks.md"))
    elseif seen[hook] then
      refused(hook, ("hook %s stands twice"):format(hook))
    end
    seen[hook] = true
  end
  if #m.hooks == 0 then refused("hooks", "it declares no hook") end
end


local function check_capabilities(m, refused)
  local wrong, why = capabilities.check(m)
  if why then refused(wrong, why) end
end


local function has_hook(m, wanted)
  for _, hook in ipairs(m.hooks) do
    if hook == wanted then return true end
  end
  return false
end


-- Of a plugin that publishes `events` says which: till.flow.publish reads it for each event.
local function check_events(m, refused)
  local spec = (m.config or {}).events
  if spec == nil or not has_hook(m, "event.publish") then return end
  local of = type(spec) == "table" and spec.of
  if type(of) == "table" then of = of.type end
  if type(spec) ~= "table" or spec.type ~= "array" or of ~= "string" then
    refused("events =", "config.events: with the hook event.publish it says which events, such as"
      .. " { \"order.*\" }: it is { type = \"array\", of = \"string\" }")
  end
end


local function fault_of_schedule(m, job, when)
  if type(job) ~= "string" or not job:find("^%l[%l%d_-]*$") or #job > MOST_NAME then
    return "a job has a name of small letters, digits, hyphens"
  elseif type(when) ~= "string" then
    return "it says when by a text such as \"every 15 minutes\""
  end
  local option = when:match("^config%.([%w_]+)$")
  if option then
    local spec = (m.config or {})[option]
    if type(spec) ~= "table" or spec.type ~= "string" then
      return ("`config` declares no string %s"):format(option)
    end
    return nil
  end
  local _, why = schedule.parse(when)
  return why
end


local function check_schedules(m, refused)
  local can_run = has_hook(m, "job.run")
  for job, when in pairs(m.schedules or {}) do
    local why = fault_of_schedule(m, job, when)
    if why then refused(tostring(job), ("schedules.%s: %s"):format(tostring(job), why)) end
    if not can_run then refused("schedules", "`schedules` need the hook job.run") end
  end
end


function manifest.read(name, source)
  local m, why = data.parse(source)
  if type(m) ~= "table" then
    local line, rest = tostring(why):match("^line (%d+): (.*)$")
    error(("plugins/%s/plugin.lua:%s %s"):format(name, line and line .. ":" or "",
      rest or why or "it must be a table"), 0)
  end
  local function refused(word, sentence) refuse(name, source, word, sentence) end
  check_fields(m, refused)
  check_values(m, name, refused)
  check_hooks(m, refused)
  check_capabilities(m, refused)
  check_schedules(m, refused)
  check_events(m, refused)
  m.config, m.priority, m.capabilities = m.config or {}, m.priority or 100, m.capabilities or {}
  why = config.check_spec(m.config)
  if why then refused(why:match("config%.([%w_-]+)"), why) end
  return m
end


return manifest
