-- till/http/admin_api/locations - the places where stock is. One with stock, held units or a past
-- cannot vanish: it is shut.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local catalog = require "till.flow.catalog"
local err = require "till.util.err"
local json = require "till.prim.json"
local locations = require "till.store.locations"
local outbox = require "till.prim.outbox"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"

local CODE = s.string { min = 1, max = 64, pattern = "^[%w._-]+$" }
local PARAMS = { code = CODE }
local NAME, ENABLED = s.string { min = 1, max = 120 }, s.boolean {}
local PRIORITY = s.integer { min = 0, max = 1000000, doc = "The lowest is taken from first." }

local LOCATION = s.object({
  id = s.id("loc"), code = CODE, name = NAME, priority = PRIORITY, enabled = ENABLED,
  on_hand = s.integer {}, reserved = s.integer {},
}, { additional = true, name = "Location" })


local function list(ctx)
  local rows, e = locations.list()
  if not rows then return nil, e end
  return ctx:json(200, { data = json.array(rows), has_more = false })
end


local function none(code)
  return err.new("not_found", "there is no location " .. code)
end


local function get(ctx)
  local row, e = locations.get(ctx.params.code)
  if row == nil then return nil, e end
  if not row then return nil, none(ctx.params.code) end
  return ctx:json(200, { location = row })
end


local function note(tx, ctx, action, code)
  return audit.add({ actor = actor.of(ctx), action = "locations." .. action, subject = code,
    detail = ctx.body, request_id = ctx.req.request_id }, tx)
end


local function answer(tx, ctx, status, code)
  local row, e = locations.get(code, tx)
  if not row then return nil, e or none(code) end
  return ctx:json(status, { location = row })
end


local function create(ctx)
  return ctx:transaction(function(tx)
    local ok, e = locations.create(tx, ctx.body)
    if ok then ok, e = note(tx, ctx, "create", ctx.body.code) end
    if not ok then return nil, e end
    return answer(tx, ctx, 201, ctx.body.code)
  end)
end


-- The versions of all stock in it grew: what Redis shows of it is replaced as it is read anew, and
-- forgotten where nobody does.
local function tell(tx, code)
  return outbox.append(tx, { { aggregate = "location:" .. code, type = "location.changed",
    payload = { location = code } } })
end


local function update(ctx)
  local code, differs = ctx.params.code, nil
  local made, e = ctx:transaction(function(tx)
    local changed, why = locations.update(tx, code, ctx.body)
    if changed == nil then return nil, why end
    differs = changed
    local ok, why2 = note(tx, ctx, "update", code)
    if ok and changed then ok, why2 = tell(tx, code) end
    if not ok then return nil, why2 end
    return answer(tx, ctx, 200, code)
  end)
  if made and differs then catalog.moved_all() end
  return made, e
end


local function remove(ctx)
  return ctx:transaction(function(tx)
    local ok, e = locations.remove(tx, ctx.params.code)
    if ok then ok, e = note(tx, ctx, "remove", ctx.params.code) end
    if not ok then return nil, e end
    return ctx:empty()
  end)
end


local one = shapes.one("location", LOCATION)

return {
  route.get("/admin/v1/locations", {
    summary = "All locations, with what is there", tag = "inventory", auth = "admin",
    permission = "inventory.read", returns = { [200] = shapes.list(LOCATION) }, handler = list,
  }),
  route.post("/admin/v1/locations", {
    summary = "Open a location", tag = "inventory", auth = "admin",
    permission = "inventory.write", idempotency = "optional",
    body = s.object({ code = CODE, name = NAME, priority = PRIORITY, enabled = ENABLED },
      { required = { "code", "name" } }),
    returns = { [201] = one }, handler = create, errors = { "conflict" },
  }),
  route.get("/admin/v1/locations/{code}", {
    summary = "One location", tag = "inventory", auth = "admin", permission = "inventory.read",
    params = PARAMS, returns = { [200] = one }, handler = get,
  }),
  route.patch("/admin/v1/locations/{code}", {
    summary = "Rename a location, change its priority, open or shut it", tag = "inventory",
    doc = "Nothing is taken from one that is shut; what is held there stays held. The last one that"
      .. " is open cannot be shut.",
    auth = "admin", permission = "inventory.write", params = PARAMS, idempotency = "optional",
    body = s.object { name = NAME, priority = PRIORITY, enabled = ENABLED },
    returns = { [200] = one }, handler = update, errors = { "conflict" },
  }),
  route.delete("/admin/v1/locations/{code}", {
    summary = "Take away a location that was never used", tag = "inventory", auth = "admin",
    permission = "inventory.write", params = PARAMS, returns = { [204] = true }, handler = remove,
    errors = { "conflict" },
  }),
}
