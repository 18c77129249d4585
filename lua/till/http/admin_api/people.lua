-- till/http/admin_api/people - customers, staff and keys, for staff.
local access = require "till.flow.access"
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local channel = require "till.flow.channel"
local err = require "till.util.err"
local keys = require "till.store.keys"
local limits = require "till.http.refund_limits"
local log = require "till.prim.log"
local people = require "till.store.people"
local permissions = require "till.http.permissions"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"

local ROLES = s.array(s.string { min = 1, max = 64 }, { max = 20 })
local HOLD_MINUTES = s.integer { min = 1, max = 10080,
  doc = "That one of its carts holds stock at most, however often it is changed." }
local MINUTES = s.integer { min = 1, max = 1440, doc = "That carts made with it hold stock." }
local ANY = { [200] = shapes.list(s.any {}) }


local function by_id(row)
  return { row.id }
end


local function lister(read, view)
  return function(ctx)
    local page, e = ctx:page()
    if not page then return nil, e end
    local rows, e2 = read { limit = page.limit, after = page.after, before = page.before,
      email = ctx.query.email }
    if not rows then return nil, e2 end
    return ctx:json(200, ctx:list(rows, page, view, by_id))
  end
end


local function get_customer(ctx)
  local found, e = people.customers.get(ctx.params.id)
  if found == nil then return nil, e end
  if not found then return nil, err.new("not_found", "there is no such customer") end
  return ctx:json(200, { customer = views.customer(found) })
end


-- -> the place of the first role that may do what he may not | nil
local function first_above(ctx, roles)
  for i, role in ipairs(roles or {}) do
    for _, permission in ipairs(permissions.ROLES[role] or { role }) do
      if not permissions.allows(ctx.auth.roles, permission) then return i end
    end
  end
end


-- Nobody makes somebody who may do more than he may himself.
local function check_roles(ctx, roles)
  local i = first_above(ctx, roles)
  if not i then return true end
  return nil, err.new("forbidden", "you cannot give more than you have", { errors = {
    { pointer = ("/roles/%d"):format(i - 1), detail = "is more than your own",
      code = "forbidden" } } })
end


-- Nor ends him.
local function check_end(ctx, roles)
  if not first_above(ctx, roles) then return true end
  return nil, err.new("forbidden",
    "You cannot end who may do more than you: somebody who may as much has to.")
end


-- Who was let in, with what, and by whom. What was done is done, whatever becomes of this.
local function note(ctx, action, subject, detail)
  local ok, e = audit.add { actor = actor.of(ctx), action = action, subject = subject,
    request_id = ctx.req.request_id, detail = detail or {} }
  if not ok then log.error("audit.lost", { action = action, error = tostring(e) }) end
end


-- Nor who may give back more by himself: a second account would be a way around the limit.
local function check_limits(ctx, roles)
  local currency, e = limits.beyond(roles, ctx.auth.roles)
  if currency == nil then return nil, e end
  if not currency then return true end
  local detail = ("may give back more by itself than you may (%s): see refund-limits")
    :format(currency == "*" and "any currency" or currency)
  return nil, err.new("forbidden", "you cannot give more than you have", { errors = {
    { pointer = "/roles", detail = detail, code = "forbidden" } } })
end


local function create_staff(ctx)
  local ok, e = check_roles(ctx, ctx.body.roles)
  if ok then ok, e = check_limits(ctx, ctx.body.roles) end
  if not ok then return nil, e end
  local made, e2 = access.create_staff(ctx.body)
  if not made then return nil, e2 end
  note(ctx, "staff.create", made.id, { roles = ctx.body.roles })
  return ctx:json(201, { staff = views.staff(made) })
end


local function is_owner(person)
  return permissions.allows(person.roles, "*")
end


local function disable_staff(ctx)
  local done, e = people.staff.disable(ctx.params.id, function(target, others)
    local ok, why = check_end(ctx, target.roles)
    if not ok then return nil, why end
    if not is_owner(target) then return true end
    for _, other in ipairs(others) do
      if is_owner(other) then return true end
    end
    return nil, err.new("conflict", "nobody else may do everything: make another owner first")
  end)
  if done == nil then return nil, e end
  if not done then return nil, err.new("not_found", "there is nobody of that id") end
  note(ctx, "staff.disable", ctx.params.id)
  return ctx:empty()
end


local function create_key(ctx)
  if ctx.body.kind == "publishable" and #(ctx.body.roles or {}) > 0 then
    return nil, err.new("invalid_request", "a publishable key has no roles")
  elseif ctx.body.kind == "secret" and (ctx.body.reservation_minutes or ctx.body.hold_minutes) then
    return nil, err.new("invalid_request", "only carts of publishable keys hold stock")
  end
  local ok, e = check_roles(ctx, ctx.body.roles)
  if ok then ok, e = check_limits(ctx, ctx.body.roles) end
  if not ok then return nil, e end
  local made, text = keys.create(ctx.body)
  if not made then return nil, text end
  note(ctx, "key.create", made.id, { kind = made.kind, name = made.name, roles = made.roles })
  local view = views.key(made)
  view.key = text
  return ctx:json(201, { key = view })
end


local function update_key(ctx)
  if not next(ctx.body) then
    return nil, err.new("invalid_request", "give reservation_minutes, hold_minutes or both")
  end
  local done, e = channel.set(ctx.params.id, ctx.body)
  if done == nil then return nil, e end
  if not done then return nil, err.new("not_found", "there is no such publishable key") end
  note(ctx, "key.update", ctx.params.id, ctx.body)
  local found, e2 = keys.get(ctx.params.id)
  if not found then return nil, e2 end
  return ctx:json(200, { key = views.key(found) })
end


local function revoke_key(ctx)
  local found, e2 = keys.get(ctx.params.id)
  if found == nil then return nil, e2 end
  local ok, why = check_end(ctx, found and found.roles)
  if not ok then return nil, why end
  local done, e = keys.revoke(ctx.params.id)
  if done == nil then return nil, e end
  if not done then return nil, err.new("not_found", "there is no such key") end
  note(ctx, "key.revoke", ctx.params.id)
  return ctx:empty()
end


return {
  route.get("/admin/v1/customers", {
    summary = "Customers", tag = "customers", auth = "admin", permission = "customers.read",
    page = true, query = { email = s.string { max = 254 } }, returns = ANY,
    handler = lister(people.customers.list, views.customer),
  }),
  route.get("/admin/v1/customers/{id}", {
    summary = "One customer", tag = "customers", auth = "admin", permission = "customers.read",
    params = { id = s.id("cus") }, returns = { [200] = true }, handler = get_customer,
  }),
  route.get("/admin/v1/staff", {
    summary = "Who works here", tag = "staff", auth = "admin", permission = "staff.read",
    page = true, returns = ANY, handler = lister(people.staff.list, views.staff),
  }),
  route.post("/admin/v1/staff", {
    summary = "Let somebody in", tag = "staff", auth = "admin", permission = "staff.write",
    body = s.object({ email = s.string { format = "email", max = 254 },
      name = s.string { max = 120 }, password = s.string { min = 10, max = 200 }, roles = ROLES },
      { required = { "email", "password", "roles" } }),
    returns = { [201] = true }, handler = create_staff,
  }),
  route.delete("/admin/v1/staff/{id}", {
    summary = "Let nobody of that name in any more", tag = "staff", auth = "admin",
    permission = "staff.write", params = { id = s.id("staff") }, returns = { [204] = true },
    doc = "Only of who may do no more than you, and never of the last who may do everything.",
    handler = disable_staff, errors = { "forbidden", "conflict" },
  }),
  route.get("/admin/v1/keys", {
    summary = "API keys", tag = "keys", auth = "admin", permission = "keys.read", page = true,
    returns = ANY, handler = lister(keys.list, views.key),
  }),
  route.post("/admin/v1/keys", {
    summary = "Make a key; it is shown this once", tag = "keys", auth = "admin",
    permission = "keys.write", body = s.object({ name = s.string { min = 1, max = 120 },
      kind = s.string { enum = { "publishable", "secret" } }, roles = ROLES,
      reservation_minutes = MINUTES, hold_minutes = HOLD_MINUTES },
      { required = { "name", "kind" } }),
    returns = { [201] = true }, handler = create_key,
  }),
  route.patch("/admin/v1/keys/{id}", {
    summary = "How long carts of a publishable key hold stock; null: as the shop says",
    tag = "keys", auth = "admin", permission = "keys.write", params = { id = s.id("key") },
    body = s.object { reservation_minutes = s.nullable(MINUTES),
      hold_minutes = s.nullable(HOLD_MINUTES) },
    returns = { [200] = true }, handler = update_key,
  }),
  route.delete("/admin/v1/keys/{id}", {
    summary = "Revoke a key", tag = "keys", auth = "admin", permission = "keys.write",
    doc = "Only of one that may do no more than you.", params = { id = s.id("key") },
    returns = { [204] = true }, handler = revoke_key, errors = { "forbidden" },
  }),
}
