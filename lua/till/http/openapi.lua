-- till/http/openapi - the API in OpenAPI 3.1, made from the very routes that are served.
--
--   openapi.build(routes, { title =, version = }) -> table, to be encoded
--
-- Schemas with a name become components; what each route may answer besides its own results is
-- derived from its checks, so that the document cannot promise what the router does not do.
local s = require "till.util.schema"
local json = require "till.prim.json"
local events = require "till.http.events"

local openapi = {}

local PROBLEM = s.object({
  type = s.string { doc = "Where the code is explained." },
  title = s.string { doc = "The same for every problem of this code." },
  status = s.integer { min = 400, max = 599 },
  code = s.string { doc = "Stable; act on this one.", example = "sold_out" },
  detail = s.string { doc = "What happened here, in a sentence." },
  instance = s.string { doc = "The path that was asked for." },
  trace_id = s.string { doc = "Names the log lines of this request; tell it to support." },
  errors = s.array(s.object({
    pointer = s.string { doc = "JSON Pointer into the body; /query/... for parameters." },
    detail = s.string {}, code = s.string {},
  }, { additional = true })),
}, { required = { "type", "title", "status", "code" }, additional = true, name = "Problem" })

local WORDS = {
  [400] = "Not well formed", [401] = "A credential is needed", [402] = "The shopper has to act",
  [403] = "The credential does not allow this", [404] = "Not there",
  [409] = "It does not fit the present state, or the first request is still running",
  [412] = "Changed meanwhile", [415] = "JSON is expected", [422] = "Does not fit the schema",
  [428] = "If-Match is needed", [429] = "Too many requests", [500] = "A fault of ours",
  [503] = "Not possible just now; Retry-After says when",
}

local SECURITY = {
  store = { { publishableKey = json.array {} }, { secretKey = json.array {} },
    { session = json.array {} }, { sessionCookie = json.array {} } },
  customer = { { session = json.array {} }, { sessionCookie = json.array {} } },
  admin = { { secretKey = json.array {} }, { session = json.array {} },
    { sessionCookie = json.array {} } },
}

local SCHEMES = {
  publishableKey = { type = "http", scheme = "bearer", bearerFormat = "mtp_...",
    description = "Names the shop window; may stand in a browser." },
  secretKey = { type = "http", scheme = "bearer", bearerFormat = "mts_...",
    description = "For servers and integrations; its roles say what it may do." },
  session = { type = "http", scheme = "bearer", bearerFormat = "mtses_...",
    description = "Of somebody who logged in." },
  sessionCookie = { type = "apiKey", ["in"] = "cookie", name = "till_session",
    description = "The same for browsers; changes need an Origin of our own." },
}


local function problem(components)
  return { ["application/problem+json"] = { schema = PROBLEM:openapi(components) } }
end


local function operation_id(route)
  local words = route.path:gsub("[{}]", ""):gsub("[^%w]+", "_"):gsub("^_", ""):gsub("_$", "")
  return route.method:lower() .. "_" .. (words == "" and "root" or words)
end


local function path_parameters(route, components, out)
  for _, name in ipairs(route.param_names) do
    local of = route.params[name]
    out[#out + 1] = { name = name, ["in"] = "path", required = true,
      description = of.opts.doc, schema = of:openapi(components) }
  end
end


local function query_parameters(route, components, out)
  local names = {}
  for name in pairs(route.query) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local of = route.query[name]
    local is_list = of.kind == "array"
    out[#out + 1] = { name = name, ["in"] = "query", description = of.opts.doc,
      required = of.opts.required or nil, schema = of:openapi(components),
      explode = is_list and true or nil, style = is_list and "form" or nil }
  end
end


local function header_parameters(route, out)
  if route.idempotency then
    out[#out + 1] = { name = "Idempotency-Key", ["in"] = "header",
      required = route.idempotency ~= "optional",
      description = "A text of your own, new for each thing to be done; repeat it when you repeat.",
      schema = { type = "string", minLength = 1, maxLength = 255 } }
  end
  if route.if_match then
    out[#out + 1] = { name = "If-Match", ["in"] = "header",
      required = route.if_match == "required",
      description = "The ETag that was read; a change of others meanwhile is 412.",
      schema = { type = "string" }, example = '"7"' }
  end
  if route.method == "GET" then
    out[#out + 1] = { name = "If-None-Match", ["in"] = "header",
      description = "The ETag that is at hand; 304 while it holds.", schema = { type = "string" } }
  end
end


local function failures_of(route)
  local out = { 500, 503, 429, 400 }
  local function add(...)
    for _, status in ipairs { ... } do out[#out + 1] = status end
  end
  if SECURITY[route.auth] then add(401, 403) end
  if #route.param_names > 0 then add(404) end
  if route.body then add(415, 422) elseif next(route.query) then add(422) end
  if route.idempotency then add(409, 422) end
  if route.if_match then add(412, 409) end
  if route.if_match == "required" then add(428) end
  local statuses = require("till.prim.status").table
  for _, code in ipairs(route.errors or {}) do add(statuses[code].http) end
  return out
end


local function success(route, status, of, components)
  local out = { description = status == 202 and "Under way" or "Done" }
  if type(of) == "table" and of.openapi then
    local example = route.example and route.example.returns
    out.content = { ["application/json"] = { schema = of:openapi(components), example = example } }
  elseif route.html then
    out.content = { ["text/html"] = { schema = { type = "string" } } }
  end
  return out
end


local function responses_of(route, components)
  local out = {}
  for status, of in pairs(route.returns or { [200] = true }) do
    out[tostring(status)] = success(route, status, of, components)
  end
  for _, status in ipairs(failures_of(route)) do
    out[tostring(status)] = out[tostring(status)]
      or { ["$ref"] = "#/components/responses/Problem" .. status }
  end
  return out
end


local function operation(route, components)
  local parameters = {}
  path_parameters(route, components, parameters)
  query_parameters(route, components, parameters)
  header_parameters(route, parameters)
  local out = { operationId = operation_id(route), summary = route.summary, tags = { route.tag },
    description = route.doc, responses = responses_of(route, components),
    parameters = #parameters > 0 and parameters or nil,
    security = SECURITY[route.auth] or json.array {} }
  if route.permission and route.permission ~= "any" then
    out.description = (route.doc and route.doc .. "\n\n" or "")
      .. "Takes the permission `" .. route.permission .. "`."
  end
  if route.body then
    local media = route.form and "multipart/form-data" or "application/json"
    out.requestBody = { required = not route.body_optional, content = { [media] = {
      schema = route.body:openapi(components),
      example = route.example and route.example.body } } }
  end
  return out
end


local function problem_responses(components)
  local out = {}
  for status, words in pairs(WORDS) do
    out["Problem" .. status] = { description = words, content = problem(components) }
  end
  return out
end


local function tags_of(routes)
  local seen, out = {}, {}
  for _, route in ipairs(routes) do
    if not seen[route.tag] then
      seen[route.tag] = true
      out[#out + 1] = { name = route.tag }
    end
  end
  table.sort(out, function(a, b) return a.name < b.name end)
  return out
end


local function webhooks(components)
  local out = {}
  for name, event in pairs(events) do
    out[name] = { post = { operationId = "webhook_" .. name:gsub("%.", "_"),
      summary = event.summary, tags = { "webhooks" },
      description = "Told to the plugins that have the hook of this name, at least once and in "
        .. "order for each order. Endpoints of other systems cannot be named yet.",
      requestBody = { required = true, content = { ["application/json"] = {
        schema = event.schema:openapi(components) } } },
      responses = { ["2XX"] = { description = "Taken" },
        ["410"] = { description = "Not wanted any longer: the endpoint is disabled" } } } }
  end
  return out
end


function openapi.build(routes, info)
  local schemas, paths = {}, {}
  for _, route in ipairs(routes) do
    if not route.html then
      paths[route.path] = paths[route.path] or {}
      paths[route.path][route.method:lower()] = operation(route, schemas)
    end
  end
  local hooks, responses = webhooks(schemas), problem_responses(schemas)
  return {
    openapi = "3.1.0",
    jsonSchemaDialect = "https://json-schema.org/draft/2020-12/schema",
    info = { title = info.title, version = info.version,
      summary = "The API of the shop.",
      description = "JSON over HTTPS. Money is a whole number of minor units beside its currency, "
        .. "times are RFC 3339 in UTC, ids are texts. Problems are RFC 9457." },
    tags = tags_of(routes),
    paths = paths,
    webhooks = hooks,
    components = { schemas = schemas, responses = responses, securitySchemes = SCHEMES },
  }
end


return openapi
