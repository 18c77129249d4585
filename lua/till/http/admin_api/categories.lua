-- till/http/admin_api/categories - the tree of the catalogue, for staff.
local catalog = require "till.flow.catalog"
local categories = require "till.store.categories"
local err = require "till.util.err"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local sql = require "till.prim.sql"
local views = require "till.http.views"

local PARAMS = { id = s.id("cat") }
local FIELDS = {
  handle = s.string { min = 1, max = 191, pattern = "^[%w._-]+$" },
  title = s.string { min = 1, max = 255 }, position = s.integer { min = 0, max = 1000000 },
  parent_id = s.nullable(s.id("cat")),
}


local function list(ctx)
  local rows, e = categories.all()
  if not rows then return nil, e end
  local out = {}
  for i, c in ipairs(rows) do out[i] = views.category(c) end
  return ctx:json(200, { data = require("till.http.render").list(out), has_more = false })
end


local function show(ctx, status, category_id)
  local category, e = categories.get(category_id)
  if category == nil then return nil, e end
  if not category then return nil, err.new("not_found", "there is no such category") end
  return ctx:json(status, { category = views.category(category) }, { etag = category.version })
end


local function create(ctx)
  local category_id, e = sql.transaction(function(tx) return categories.create(tx, ctx.body) end)
  if not category_id then return nil, e end
  catalog.forget_categories()
  return show(ctx, 201, category_id)
end


local function change(ctx, fn)
  local done, e = sql.transaction(function(tx)
    local row, why = categories.lock(tx, ctx.params.id)
    if row == false then return nil, err.new("not_found", "there is no such category") end
    if not row then return nil, why end
    local ok, why2 = ctx:matches(row.version)
    if ok then ok, why2 = fn(tx) end
    if not ok then return nil, why2 end
    return true
  end)
  if not done then return nil, e end
  catalog.forget_categories()
  return true
end


local function update(ctx)
  local ok, e = change(ctx, function(tx)
    return categories.update(tx, ctx.params.id, ctx.body)
  end)
  if not ok then return nil, e end
  return show(ctx, 200, ctx.params.id)
end


local function remove(ctx)
  local ok, e = change(ctx, function(tx) return categories.remove(tx, ctx.params.id) end)
  if not ok then return nil, e end
  return ctx:empty()
end


local one = shapes.one("category", shapes.category)

return {
  route.get("/admin/v1/categories", {
    summary = "All categories", tag = "categories", auth = "admin",
    permission = "categories.read", returns = { [200] = shapes.list(shapes.category) },
    handler = list,
  }),
  route.post("/admin/v1/categories", {
    summary = "Make a category", tag = "categories", auth = "admin",
    permission = "categories.write", body = s.object(FIELDS, { required = { "handle", "title" } }),
    returns = { [201] = one }, handler = create,
  }),
  route.get("/admin/v1/categories/{id}", {
    summary = "One category", tag = "categories", auth = "admin", permission = "categories.read",
    params = PARAMS, returns = { [200] = one },
    handler = function(ctx) return show(ctx, 200, ctx.params.id) end,
  }),
  route.patch("/admin/v1/categories/{id}", {
    summary = "Change a category", tag = "categories", auth = "admin",
    permission = "categories.write", params = PARAMS, if_match = "required",
    body = s.object(FIELDS), returns = { [200] = one }, handler = update,
  }),
  route.delete("/admin/v1/categories/{id}", {
    summary = "Remove a category", tag = "categories", auth = "admin",
    permission = "categories.write", params = PARAMS, if_match = "required",
    returns = { [204] = true }, handler = remove,
  }),
}
