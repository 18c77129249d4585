-- till/http/admin_api/rule_shape - merchants' rules as the admin API takes and shows them.
local json = require "till.prim.json"
local plugin_rules = require "till.plugin.rules"
local s = require "till.util.schema"
local when = require "till.rule.when"

local rule_shape = {}

rule_shape.STATES = { "draft", "published", "unpublished", "set_aside", "archived" }
rule_shape.DATE = s.nullable(s.string { format = "date-time" })

local NAME_FORM = "^%l[%l%d-]*$"
local NAME = s.string { min = 1, max = 64, pattern = NAME_FORM,
  regex = "^[a-z][a-z0-9-]*$", doc = "In small letters; prices name it, so it never changes." }
local REASON = s.string { max = 500 }
local OBJECT = s.map(s.any {})


local function fields(more)
  local out = {
    title = s.string { min = 1, max = 200 },
    text = s.string { min = 1, max = plugin_rules.MAX_TEXT,
      doc = "Lua: a chunk that returns function(args, cart)." },
    schema = OBJECT, args = OBJECT, when = when.schema,
    priority = s.integer { min = 0, max = 100000 }, starts_at = rule_shape.DATE,
    ends_at = rule_shape.DATE,
  }
  for name, schema in pairs(more) do out[name] = schema end
  return out
end


local HOOK = s.string { enum = plugin_rules.HOOKS }

rule_shape.draft = s.object(fields { name = NAME, hook = HOOK, reason = REASON },
  { required = { "name", "hook", "text" }, name = "RuleDraft" })
rule_shape.changes = s.object(fields { reason = REASON }, { name = "RuleChanges" })

rule_shape.checked = s.object(fields { name = s.string { min = 1, max = 64, pattern = NAME_FORM,
  default = "draft" }, hook = HOOK }, { required = { "hook", "text" } })

rule_shape.schema = s.object({ id = s.id("rule"), name = s.string {}, hook = HOOK,
  title = s.string {}, state = s.string { enum = rule_shape.STATES }, version = s.integer {},
}, { additional = true, name = "Rule" })


-- What is live is told by the generation: after a rollback the tables may remember otherwise.
local function state_of(rule, live, aside)
  if aside then return "set_aside" end
  if live then return "published" end
  if rule.state == "published" or rule.state == "set_aside" then return "unpublished" end
  return rule.state
end


function rule_shape.head(rule, live, aside)
  return { id = rule.id, name = rule.name, hook = rule.hook, title = rule.title,
    state = state_of(rule, live, aside), version = rule.version,
    live = live and { version = live.version, hash = live.hash } or nil,
    set_aside = aside and { reason = aside } or nil, created_at = rule.created_at,
    updated_at = rule.updated_at }
end


local function add_manifest(out, version)
  local m = version.manifest
  out.title, out.priority, out.starts_at, out.ends_at = m.title, m.priority, m.starts_at, m.ends_at
  out.schema, out.args, out.when = m.schema, m.args, m.when
  out.text, out.hash = version.text, version.hash
  return out
end


function rule_shape.rule(rule, latest, live, aside)
  return add_manifest(rule_shape.head(rule, live, aside), latest)
end


function rule_shape.version_head(version)
  return { number = version.number, hash = version.hash, title = version.manifest.title,
    author = version.author, reason = version.reason, created_at = version.created_at }
end


function rule_shape.version(version)
  local out = add_manifest(rule_shape.version_head(version), version)
  out.rule_id = version.rule_id
  return out
end


function rule_shape.event(e)
  return { id = e.id, type = e.type, outcome = e.outcome, version = e.version,
    generation = e.generation, author = e.author, reason = e.reason, detail = e.detail,
    at = e.created_at }
end


--- A member a line, so that two of them can be compared line by line.
function rule_shape.manifest_text(version)
  local names, out = {}, {}
  for name in pairs(version.manifest) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    if name ~= "version" then
      out[#out + 1] = ("%s: %s\n"):format(name, json.encode(version.manifest[name]))
    end
  end
  return table.concat(out)
end


return rule_shape
