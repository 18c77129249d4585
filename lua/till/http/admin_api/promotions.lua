-- till/http/admin_api/promotions - promotions and their codes, for staff.
local err = require "till.util.err"
local promo_terms = require "till.flow.promo_terms"
local promotions = require "till.store.promotions"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local sql = require "till.prim.sql"
local terms = require "till.rule.terms"
local views = require "till.http.views"

local PARAMS = { id = s.id("promo") }
local COUNT = s.nullable(s.integer { min = 1 })
local DATE = s.nullable(s.string { format = "date-time" })
local STATUS = s.string { enum = { "active", "paused", "archived" } }
local FIELDS = {
  code = s.nullable(s.string { min = 1, max = 64, pattern = "%S" }),
  name = s.string { min = 1, max = 255 }, terms = terms.schema, status = STATUS,
  usage_limit = COUNT, per_customer_limit = COUNT, starts_at = DATE, ends_at = DATE,
}


local function show(ctx, status, promotion_id)
  local promotion, e = promotions.get(promotion_id)
  if promotion == nil then return nil, e end
  if not promotion then return nil, err.new("not_found", "there is no such promotion") end
  return ctx:json(status, { promotion = views.promotion(promotion) }, { etag = promotion.version })
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = promotions.list { status = ctx.query.status, limit = page.limit,
    after = page.after, before = page.before }
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, views.promotion, function(p) return { p.id } end))
end


local function create(ctx)
  local ok, e = terms.check(ctx.body.terms)
  if not ok then return nil, e end
  local promotion_id, e2 = sql.transaction(function(tx) return promotions.create(tx, ctx.body) end)
  if not promotion_id then return nil, e2 end
  promo_terms.forget()
  return show(ctx, 201, promotion_id)
end


local function change(ctx, fields)
  local done, e = sql.transaction(function(tx)
    local row, why = promotions.lock(tx, ctx.params.id)
    if row == false then return nil, err.new("not_found", "there is no such promotion") end
    if not row then return nil, why end
    local ok, why2 = ctx:matches(row.version)
    if ok then ok, why2 = promotions.update(tx, ctx.params.id, fields) end
    if not ok then return nil, why2 end
    return true
  end)
  if done then promo_terms.forget() end
  return done, e
end


local function update(ctx)
  if ctx.body.terms then
    local ok, e = terms.check(ctx.body.terms)
    if not ok then return nil, e end
  end
  local ok, e2 = change(ctx, ctx.body)
  if not ok then return nil, e2 end
  return show(ctx, 200, ctx.params.id)
end


local function archive(ctx)
  local ok, e = change(ctx, { status = "archived" })
  if not ok then return nil, e end
  return ctx:empty()
end


local one = shapes.one("promotion", shapes.promotion)

return {
  route.get("/admin/v1/promotions", {
    summary = "All promotions", tag = "promotions", auth = "admin",
    permission = "promotions.read", page = true, query = { status = STATUS },
    returns = { [200] = shapes.list(shapes.promotion) }, handler = list,
  }),
  route.post("/admin/v1/promotions", {
    summary = "Make a promotion", tag = "promotions", auth = "admin",
    permission = "promotions.write", body = s.object(FIELDS, { required = { "name", "terms" } }),
    returns = { [201] = one }, handler = create,
  }),
  route.get("/admin/v1/promotions/{id}", {
    summary = "One promotion", tag = "promotions", auth = "admin",
    permission = "promotions.read", params = PARAMS, returns = { [200] = one },
    handler = function(ctx) return show(ctx, 200, ctx.params.id) end,
  }),
  route.patch("/admin/v1/promotions/{id}", {
    summary = "Change a promotion", tag = "promotions", auth = "admin",
    permission = "promotions.write", params = PARAMS, if_match = "required",
    body = s.object(FIELDS), returns = { [200] = one }, handler = update,
  }),
  route.delete("/admin/v1/promotions/{id}", {
    summary = "Archive a promotion", tag = "promotions", auth = "admin",
    permission = "promotions.write", params = PARAMS, if_match = "required",
    returns = { [204] = true }, handler = archive,
  }),
}
