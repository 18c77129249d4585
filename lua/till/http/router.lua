-- till/http/router - from a request to its handler, and back.
--
--   local r = router.new({ { source = "till.http.store_api.carts", routes = {...} }, ... })
--   r:handle(req) -> status, headers, body, route template, keep_ms, live     never throws
--   r:priority(method, path) -> how important it is, see till.http.route
--   r.routes                                                      all of them, for OpenAPI
--
-- Routes are made with till.http.route (also as router.get, router.post ...). The order of checks:
--   route (404, 405) -> credential (401) -> permission (403) -> path parameters (404) -> media type
--   (415) -> JSON (400) -> schemas (422) -> If-Match (428, 400) -> Idempotency-Key -> handler
-- HEAD is served by GET (the core sends its length alone), OPTIONS tells the methods. Whatever is
-- thrown is logged with its traceback and answered with `internal`; a thrown error value is
-- answered as itself.
local err = require "till.util.err"
local url = require "till.util.url"
local co = require "till.prim.co"
local log = require "till.prim.log"
local auth = require "till.http.auth"
local context = require "till.http.ctx"
local decode = require "till.http.decode"
local idempotency = require "till.http.idempotency"
local problem = require "till.http.problem"
local respond = require "till.http.respond"
local route = require "till.http.route"
local tree = require "till.http.tree"

local router = {}
router.__index = router

for method in pairs(route.METHODS) do router[method:lower()] = route[method:lower()] end

local NO_ROUTE = "(none)"


function router.new(groups)
  local self = setmetatable({ tree = tree.new(), routes = {} }, router)
  for _, group in ipairs(groups) do
    for _, definition in ipairs(group.routes) do
      local compiled = route.compile(definition, group.source)
      compiled.plugin = group.plugin
      self.tree:add(compiled)
      self.routes[#self.routes + 1] = compiled
    end
  end
  return self
end


local function allow_of(methods)
  local names = { "OPTIONS" }
  for method in pairs(methods) do names[#names + 1] = method end
  if methods.GET then names[#names + 1] = "HEAD" end
  table.sort(names)
  return table.concat(names, ", ")
end


-- -> route, values | nil, err | nil, nil, response
local function find(self, req)
  local segments, why = url.segments(req.path)
  if not segments then return nil, err.new("bad_request", "The path: " .. why .. ".") end
  local methods, values = self.tree:find(segments)
  if not methods then return nil, err.new("not_found", "There is no such address.") end
  local found = methods[req.method] or req.method == "HEAD" and methods.GET
  if found then return found, values end
  local allow = allow_of(methods)
  if req.method == "OPTIONS" then return nil, nil, respond.raw(204, { allow = allow }, "") end
  return nil, err.new("method_not_allowed", "Here it can be " .. allow .. ".", { allow = allow })
end


local function params_of(found, values)
  local out = {}
  for i, name in ipairs(found.param_names) do
    local value, faults = found.params[name]:check(values[i])
    if faults then return nil, err.new("not_found", "There is no such thing under this id.") end
    out[name] = value
  end
  return out
end


-- Everything that comes before the claim of the key; -> ctx | nil, err
local function admit(found, values, req)
  local who, failure = auth.check(found, req)
  if not who then return nil, failure end
  local params, query, body, if_match, good
  params, failure = params_of(found, values)
  if not params then return nil, failure end
  good, failure = decode.media_type(found, req)
  if not good then return nil, failure end
  query, body = decode.input(found, req)
  if not query then return nil, body end
  if_match, failure = decode.if_match(found, req)
  if failure then return nil, failure end
  return context.new(found, req, who, params, query, body, if_match)
end


local function traced(thrown)
  if err.is(thrown) then return thrown end
  return { traceback = debug.traceback(tostring(thrown), 2) }
end


local function report(where, req, text)
  log.error("http.fault", { route = where, method = req.method, error = text })
end


-- A thrown error value is a failure that unwound; anything else is a fault of the code.
local function as_failure(thrown, where, req)
  if err.is(thrown) then return thrown end
  report(where, req, thrown.traceback)
  return err.new("internal", "a fault")
end


-- What MariaDB says of a value that was given to it, letters among them that a code in ASCII is
-- compared with; all else that it refuses is a fault of ours.
local OF_VALUES = { [1048] = true, [1264] = true, [1267] = true, [1270] = true, [1271] = true,
  [1366] = true, [1406] = true, [1451] = true, [1452] = true, [4025] = true }


local function as_fault(failure, found, ctx)
  if failure.code ~= "rejected" or failure.public or not failure.errcode
    or OF_VALUES[failure.errcode] then return failure end
  report(found.path, ctx.req, tostring(failure) .. ": is the database migrated, and may this user"
    .. " do what docs/operations.md grants him?")
  return err.new("internal", "a fault")
end


local function run(found, ctx)
  if found.plugin then co.enter(found.plugin, found.path) end
  local good, response, failure = xpcall(found.handler, traced, ctx)
  if found.plugin then co.leave() end
  if not good then return nil, as_failure(response, found.path, ctx.req) end
  if response ~= nil then
    if respond.is(response) then return response end
    report(found.path, ctx.req, "the handler returned a " .. type(response)
      .. " instead of ctx:json(...) or nil, err")
    return nil, err.new("internal", "no response")
  end
  if err.is(failure) then return nil, as_fault(failure, found, ctx) end
  report(found.path, ctx.req, "the handler returned neither a response nor an error: "
    .. tostring(failure))
  return nil, err.new("internal", "no response")
end


local function note(found, req, failure)
  if failure.http >= 500 and failure.code ~= "internal" then
    log.warn("http.failed", { route = found.path, method = req.method, code = failure.code,
      error = tostring(failure) })
  end
end


local function serve(found, values, req)
  local ctx, failure = admit(found, values, req)
  if not ctx then return nil, failure end
  if found.idempotency then
    local instead
    instead, failure = idempotency.claim(found, ctx)
    if instead then return instead end
    if failure then return nil, failure end
  end
  local response
  response, failure = run(found, ctx)
  response = response or problem.response(failure, req)
  if failure then note(found, req, failure) end
  idempotency.settle(ctx, response, failure)
  return response
end


local function respond_to(self, req)
  local found, values, instead = find(self, req)
  if instead then return instead, NO_ROUTE end
  if not found then return problem.response(values, req), NO_ROUTE end
  local good, response, failure = xpcall(serve, traced, found, values, req)
  if not good then response, failure = nil, as_failure(response, found.path, req) end
  if not response then
    note(found, req, failure)
    response = problem.response(failure, req)
  end
  return respond.fresh(response, req), found.path
end


function router:priority(method, path)
  local segments = url.segments(path)
  local methods = segments and self.tree:find(segments)
  local found = methods and (methods[method] or method == "HEAD" and methods.GET)
  return found and found.priority or "read"
end


function router:handle(req)
  local good, response, template = xpcall(respond_to, traced, self, req)
  if not good then
    response, template = problem.response(as_failure(response, NO_ROUTE, req), req), NO_ROUTE
  end
  return response.status, response.headers, response.body, template, response.keep_ms,
    response.live
end


return router
