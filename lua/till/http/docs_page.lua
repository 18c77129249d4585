-- till/http/docs_page - the OpenAPI document as a page that reads well without any script.
--
--   docs_page.api(document, shop_name) -> response
--   docs_page.head(shop_name), docs_page.foot(generation)  -> nodes, for other pages
local co = require "till.prim.co"
local json = require "till.prim.json"
local page = require "till.http.page"

local docs_page = {}

local h = page.h
local METHODS = { "get", "post", "put", "patch", "delete" }

-- Hides what does not hold the words; without it everything is there.
local SCRIPT = [[
const box = document.getElementById('filter');
box.hidden = false;
box.querySelector('input').addEventListener('input', (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll('details[data-text]')) {
    item.hidden = !words.every((word) => item.dataset.text.includes(word));
  }
  for (const section of document.querySelectorAll('section[data-tag]')) {
    section.hidden = !section.querySelector('details:not([hidden])');
  }
});
if (location.hash) {
  const target = document.getElementById(location.hash.slice(1));
  if (target && target.tagName === 'DETAILS') target.open = true;
}
]]


function docs_page.head(shop)
  return h.header { h.a { class = "name", href = "/", shop },
    h.nav { h.a { href = "/docs", "API" }, h.a { href = "/docs/problems", "Problems" },
      h.a { href = "/openapi.json", "openapi.json" } } }
end


function docs_page.foot(generation)
  return h.footer { "Generation ", h.code { tostring(generation):sub(1, 12) } }
end


local function type_of(schema)
  if schema["$ref"] then
    -- linear: a reference of ours
    local name = schema["$ref"]:match("([^/]+)$")
    return h.a { href = "#schema-" .. name, name }
  elseif schema.anyOf then
    local out = {}
    for i, form in ipairs(schema.anyOf) do out[i] = { i > 1 and " or ", type_of(form) } end
    return out
  elseif schema.type == "array" then
    return { "list of ", type_of(schema.items) }
  elseif type(schema.type) == "table" then
    return table.concat(schema.type, " or ")
  end
  return schema.type or "anything"
end


local function notes_of(schema)
  local out = {}
  local function add(format, value)
    if value ~= nil then out[#out + 1] = format:format(value) end
  end
  add("one of %s", schema.enum and table.concat(schema.enum, ", "))
  add("%s", schema.format)
  if schema.minimum and schema.minimum > -2 ^ 52 then add("from %.16g", schema.minimum) end
  if schema.maximum and schema.maximum < 2 ^ 52 then add("up to %.16g", schema.maximum) end
  if schema.default ~= nil then add("default %s", tostring(schema.default)) end
  return table.concat(out, "; ")
end


local function rows_of(schema)
  local names, needed, out = {}, {}, {}
  for name in pairs(schema.properties or {}) do names[#names + 1] = name end
  for _, name in ipairs(schema.required or {}) do needed[name] = true end
  table.sort(names)
  for i, name in ipairs(names) do
    local of = schema.properties[name]
    out[i] = h.tr { h.td { h.code { name }, needed[name] and h.span { class = "warn", " *" } },
      h.td { type_of(of) }, h.td { of.description, of.description and " ",
        h.span { class = "soft", notes_of(of) } } }
  end
  return out
end


local function schema_view(schema)
  if schema.properties and next(schema.properties) then return h.table { rows_of(schema) } end
  return h.p { type_of(schema) }
end


local function parameters_view(list)
  if not list then return nil end
  local rows = {}
  for i, p in ipairs(list) do
    rows[i] = h.tr { h.td { h.code { p.name }, p.required and h.span { class = "warn", " *" } },
      h.td { p["in"] }, h.td { type_of(p.schema) },
      h.td { p.description, " ", h.span { class = "soft", notes_of(p.schema) } } }
  end
  return { h.h4 { "Parameters" }, h.table { rows } }
end


local function content_view(title, content)
  local media = content and content["application/json"]
  if not media then return nil end
  return { h.h4 { title }, schema_view(media.schema),
    media.example and h.pre { json.encode(media.example) } }
end


local function responses_view(responses)
  local codes, out, problems = {}, {}, {}
  for status in pairs(responses) do codes[#codes + 1] = status end
  table.sort(codes)
  for _, status in ipairs(codes) do
    local response = responses[status]
    if response["$ref"] then
      problems[#problems + 1] = status
    else
      out[#out + 1] = content_view("Answer " .. status, response.content)
        or h.p { h.code { status }, " ", response.description }
    end
  end
  out[#out + 1] = #problems > 0 and h.p { class = "soft", "Problems: ",
    h.a { href = "/docs/problems", table.concat(problems, ", ") } }
  return out
end


local function operation_view(method, path, operation)
  local text = table.concat({ method, path, operation.summary or "", operation.tags[1] }, " ")
  return h.details { id = operation.operationId, ["data-text"] = text:lower(),
    h.summary { h.span { class = "method", method:upper() }, h.span { class = "path", path },
      h.span { class = "soft", operation.summary } },
    h.div { operation.description and h.p { operation.description },
      parameters_view(operation.parameters),
      operation.requestBody and content_view("Body", operation.requestBody.content),
      responses_view(operation.responses) } }
end


local function by_tag(paths)
  local names, out = {}, {}
  for path in pairs(paths) do names[#names + 1] = path end
  table.sort(names)
  for _, path in ipairs(names) do
    for _, method in ipairs(METHODS) do
      local operation = paths[path][method]
      if operation then
        local tag = operation.tags[1]
        out[tag] = out[tag] or {}
        table.insert(out[tag], operation_view(method, path, operation))
      end
    end
  end
  return out
end


local function sections(document)
  local views, out = by_tag(document.paths), {}
  for _, tag in ipairs(document.tags) do
    if views[tag.name] then
      out[#out + 1] = h.section { ["data-tag"] = tag.name, h.h2 { id = "tag-" .. tag.name,
        tag.name }, views[tag.name] }
    end
  end
  return out
end


local function schema_sections(schemas)
  local names, out = {}, {}
  for name in pairs(schemas) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    out[i] = h.details { id = "schema-" .. name, ["data-text"] = "schema " .. name:lower(),
      h.summary { h.span { class = "path", name },
        h.span { class = "soft", schemas[name].description } },
      h.div { schema_view(schemas[name]) } }
  end
  return h.section { ["data-tag"] = "schemas", h.h2 { "Schemas" }, out }
end


local function webhook_section(webhooks)
  local names, out = {}, {}
  for name in pairs(webhooks) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do out[i] = operation_view("post", name, webhooks[name].post) end
  return h.section { ["data-tag"] = "webhooks", h.h2 { "Webhooks" },
    h.p { class = "soft", "What the shop sends to your endpoints." }, out }
end


function docs_page.api(document, shop)
  return page.response { title = document.info.title, script = SCRIPT, body = {
    docs_page.head(shop),
    h.main { h.h1 { document.info.title }, h.p { document.info.description },
      h.form { class = "search", id = "filter", hidden = true,
        h.input { type = "search", placeholder = "Find a route or a schema",
          ["aria-label"] = "Find a route or a schema" } },
      sections(document), webhook_section(document.webhooks),
      schema_sections(document.components.schemas) },
    docs_page.foot(co.generation()),
  } }
end


return docs_page
