-- till/http/route - what a route is made of; till.http.router serves a list of them.
--
--   local route = require "till.http.route"
--   return {
--     route.get("/store/v1/products/{id}", { summary =, tag =, auth = "store", params =, returns =,
--       handler = function(ctx) return ctx:json(200, {...}, { etag = version }) end }),
--   }
--
-- Fields of a definition, all checked when the routes are loaded:
--   summary      one line, for the documentation; doc: more
--   tag          the group that it is shown in
--   auth         "store" (publishable or secret key, or a customer's session)
--                "admin" (secret key or a session of the staff; `permission` says what it takes)
--                "customer" (a customer's session only)
--                "none", or "hook" (nobody checked, raw body: the plugin proves the sender)
--   permission   admin only, "orders.write"
--   params       { id = schema }; a value that does not fit is 404. Default: any text up to 255
--   query        { limit = schema }; unknown parameters are refused. `page = true` adds limit,
--                after and before, read with ctx:page()
--   body         schema; a body that is empty is taken for {} where nothing is required
--   form         true: the body is multipart/form-data; the schema's fields are its parts
--   returns      { [200] = schema or true }; problems are added by themselves
--   idempotency  "required" | "optional" | "late": required, claimed by the handler (ctx:claim)
--   if_match     "required" | "optional"
--   priority     "read" | "staff" | "cart" | "checkout": the first are refused first
--                under overload. Default: staff for auth = "admin", checkout for "hook", else read
--                for GET and cart for the others
--   example      { body =, returns = }
--   errors       list of codes worth telling of in the documentation
--   handler      fn(ctx) -> response | nil, err
--
-- A handler of `hook` gets ctx.body as the text that came.
local s = require "till.util.schema"

local route = {}

route.AUTH = { store = true, admin = true, customer = true, none = true, hook = true }
route.METHODS = { GET = true, POST = true, PUT = true, PATCH = true, DELETE = true }

local FIELDS = {
  method = "string", path = "string", summary = "string", doc = "string", tag = "string",
  auth = "string", permission = "string", params = "table", query = "table", body = "table",
  returns = "table", idempotency = "string", if_match = "string", example = "table",
  errors = "table", handler = "function", page = "boolean", html = "boolean",
  form = "boolean", source = "string",
  priority = "string",
}
local PRIORITY = { read = true, staff = true, cart = true, checkout = true }
local WHEN = { required = true, optional = true }


for method in pairs(route.METHODS) do
  --- route.get(path, definition) and so on: the definition, with both in it.
  route[method:lower()] = function(path, definition)
    local out = {}
    for k, v in pairs(definition) do out[k] = v end
    out.method, out.path = method, path
    return out
  end
end


local function bad(def, sentence, ...)
  error(("%s: route %s %s: "):format(def.source or "a module", tostring(def.method),
    tostring(def.path)) .. sentence:format(...), 0)
end


local function check_fields(def)
  for name, value in pairs(def) do
    local wanted = FIELDS[name]
    if not wanted then bad(def, "there is no field `%s`", tostring(name)) end
    if type(value) ~= wanted then bad(def, "`%s` must be a %s", name, wanted) end
  end
  if not route.METHODS[def.method] then bad(def, "no such method") end
  if type(def.handler) ~= "function" then bad(def, "`handler` is missing") end
  if not route.AUTH[def.auth] then
    bad(def, "`auth` must be store, admin, customer, none or hook")
  end
  if (def.auth == "admin") ~= (def.permission ~= nil) then
    bad(def, "`permission` goes with auth = \"admin\", and is needed there (\"any\" takes none)")
  end
  if def.priority and not PRIORITY[def.priority] then
    bad(def, "`priority` must be \"read\", \"staff\", \"cart\" or \"checkout\"")
  end
  for _, name in ipairs { "idempotency", "if_match" } do
    local late = name == "idempotency" and def[name] == "late"
    if def[name] and not WHEN[def[name]] and not late then
      bad(def, "`%s` must be \"required\" or \"optional\"", name)
    end
  end
end


local function names_in(def)
  local names, seen = {}, {}
  for segment in def.path:gmatch("/([^/]*)") do
    local name = segment:match("^{([%l_]+)}$")
    if name then
      if seen[name] then bad(def, "{%s} stands twice in the path", name) end
      seen[name] = true
      names[#names + 1] = name
    elseif segment:find("[{}%%]") then
      bad(def, "%s is not a segment", segment)
    end
  end
  return names, seen
end


local function params_of(def)
  local names, seen = names_in(def)
  local given = def.params or {}
  for name in pairs(given) do
    if not seen[name] then bad(def, "params.%s is not in the path", name) end
  end
  local out = {}
  for _, name in ipairs(names) do out[name] = given[name] or s.string { min = 1, max = 255 } end
  return out, names
end


local function query_of(def)
  local out = {}
  for name, schema in pairs(def.query or {}) do out[name] = schema end
  if def.page then
    out.limit = s.integer { min = 1, max = 100, default = 20, doc = "How many." }
    out.after = s.string { max = 1000, doc = "next_cursor of the page before." }
    out.before = s.string { max = 1000, doc = "prev_cursor of the page after." }
  end
  return out
end


local function priority_of(def)
  if def.priority then return def.priority end
  if def.auth == "admin" then return "staff" end
  if def.auth == "hook" then return "checkout" end
  return def.method == "GET" and "read" or "cart"
end


--- Checks a definition and makes the route that the router serves. Throws a sentence.
function route.compile(def, source)
  def.source = def.source or source
  if type(def.path) ~= "string" or not def.path:find("^/") then
    bad(def, "the path begins with /")
  end
  check_fields(def)
  local params, names = params_of(def)
  local out = {}
  for k, v in pairs(def) do out[k] = v end
  out.params, out.param_names, out.query = params, names, query_of(def)
  out.tag = def.tag or "other"
  out.priority = priority_of(def)
  out.body_optional = def.body and def.body.required and next(def.body.required) == nil
  return out
end


return route
