-- till/http/auth_api - logging in and out, and registering.
local access = require "till.flow.access"
local auth = require "till.http.auth"
local cart_merge = require "till.flow.cart_merge"
local conf = require "till.prim.conf"
local json = require "till.prim.json"
local problem = require "till.http.problem"
local render = require "till.http.render"
local respond = require "till.http.respond"
local route = require "till.http.route"
local s = require "till.util.schema"
local sessions = require "till.store.sessions"
local views = require "till.http.views"

local LOGIN = s.object({ email = s.string { min = 3, max = 254 },
  password = s.string { min = 1, max = 200 } }, { required = { "email", "password" },
  name = "Login" })


local function cookie(value, seconds)
  return ("till_session=%s; Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=Lax")
    :format(value, seconds)
end


-- IETF ratelimit-headers, draft 10.
local function limits(q, what)
  if not q then return {} end
  return { ["ratelimit-policy"] = ('"%s";q=%d;w=%d'):format(what, q.max, q.window),
    ratelimit = ('"%s";r=%d;t=%d'):format(what, q.left, q.reset) }
end


local function with_headers(response, headers)
  for name, value in pairs(headers) do response.headers[name] = value end
  return response
end


-- The login stands whatever becomes of the carts: who is told of an error asks to merge again.
local function add_cart(ctx, body, customer_id)
  local cart_id, cart = ctx.body.cart_id, nil
  if cart_id and cart_id ~= json.null then
    local more
    cart, more = cart_merge.merge({ kind = "customer", customer_id = customer_id,
      key_id = ctx.auth.key_id }, cart_id)
    if cart then body.left_out = render.list(more) else body.cart_error = views.error(more) end
  end
  cart = cart or cart_merge.current(customer_id)
  body.cart = cart and views.cart(cart) or json.null
  return body
end


local function login(kind, view)
  return function(ctx)
    local session, e, q = access.login(kind, ctx.body.email, ctx.body.password, ctx.req.peer)
    if not session then
      if e.code ~= "quota_exceeded" and e.code ~= "unauthorized" then return nil, e end
      return with_headers(problem.response(e, ctx.req), limits(q, "login"))
    end
    local headers = limits(q, "login")
    headers["set-cookie"] = cookie(session.token, conf.get("auth.session_hours") * 3600)
    headers["cache-control"] = "no-store"
    local body = { token = session.token, expires_at = session.expires_at,
      [kind] = view(session.who) }
    if kind == "customer" then add_cart(ctx, body, session.who.id) end
    return ctx:json(201, body, { headers = headers })
  end
end


local function logout(ctx)
  local done, e = sessions.remove(ctx.auth.session_id)
  if not done then return nil, e end
  if ctx.auth.token_hash then auth.forget(ctx.auth.token_hash) end
  return respond.json(204, nil, { headers = { ["set-cookie"] = cookie("", 0) } })
end


-- Through a shop's own server, which has a secret key, everybody comes from one address.
local function register(ctx)
  local peer = ctx.auth.kind ~= "secret" and ctx.req.peer or nil
  local made, e, q = access.register(ctx.body, peer)
  if not made then
    if e.code ~= "quota_exceeded" then return nil, e end
    return with_headers(problem.response(e, ctx.req), limits(q, "registration"))
  end
  return ctx:json(201, { customer = views.customer(made) },
    { headers = limits(q, "registration") })
end


return {
  route.post("/auth/v1/staff/sessions", {
    summary = "Log in as staff", tag = "auth", auth = "none", body = LOGIN,
    returns = { [201] = true }, handler = login("staff", views.staff),
    errors = { "unauthorized", "quota_exceeded", "overloaded" },
  }),
  route.delete("/auth/v1/staff/sessions", {
    summary = "Log out", tag = "auth", auth = "admin", permission = "any",
    returns = { [204] = true }, handler = logout,
  }),
  route.post("/auth/v1/customers", {
    summary = "Register as a customer", tag = "auth", auth = "store",
    body = s.object({ email = s.string { format = "email", max = 254 },
      password = s.string { min = 10, max = 200 }, first_name = s.string { max = 120 },
      last_name = s.string { max = 120 }, phone = s.string { max = 40 } },
      { required = { "email", "password" } }),
    returns = { [201] = true }, handler = register,
    errors = { "duplicate", "quota_exceeded", "overloaded" },
    doc = "An address may register 5 times as many as `auth.max_attempts` within 15 minutes; a"
      .. " secret key is not counted. 503: as many passwords wait to be computed as may.",
  }),
  route.post("/auth/v1/customers/sessions", {
    summary = "Log in as a customer; cart_id: a guest's cart that becomes his", tag = "auth",
    auth = "store", body = s.object({ email = s.string { min = 3, max = 254 },
      password = s.string { min = 1, max = 200 }, cart_id = s.nullable(s.id("cart")) },
      { required = { "email", "password" }, name = "CustomerLogin" }),
    returns = { [201] = true }, handler = login("customer", views.customer),
    errors = { "unauthorized", "quota_exceeded", "overloaded" },
  }),
  route.delete("/auth/v1/customers/sessions", {
    summary = "Log out", tag = "auth", auth = "customer", returns = { [204] = true },
    handler = logout,
  }),
}
