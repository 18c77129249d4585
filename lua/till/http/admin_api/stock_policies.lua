-- till/http/admin_api/stock_policies - how a SKU is sold when it is not there: not, as a backorder
-- or as a preorder; and of which parts a bundle consists.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local backorders = require "till.store.backorders"
local bundles = require "till.store.bundles"
local catalog = require "till.flow.catalog"
local db = require "till.store.db"
local err = require "till.util.err"
local outbox = require "till.prim.outbox"
local products = require "till.store.products"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"

local SKU = { sku = s.string { min = 1, max = 100 } }
local VARIANT = { id = s.id("var") }

local policy = s.object({ sku = s.string {}, variant_id = s.id("var"), policy = s.string {},
  limit = s.integer {}, promised = s.integer {}, available_at = s.string {} },
  { additional = true, name = "BackorderPolicy" })
local part = s.object({ variant_id = s.id("var"), quantity = s.integer { min = 1, max = 1000 } },
  { required = { "variant_id", "quantity" }, name = "BundlePart" })


local function get_policy(ctx)
  local found, e = backorders.get(ctx.params.sku)
  if found == nil then return nil, e end
  if not found then return nil, err.new("not_found", "there is no variant with this SKU") end
  return ctx:json(200, { backorders = found })
end


local function check(body)
  local pointer, detail
  if body.policy ~= "deny" and not body.limit then
    pointer, detail = "/limit", "say how many units may be promised"
  elseif body.policy ~= "preorder" and db.given(body.available_at) then
    pointer, detail = "/available_at", "only a preorder has a date"
  end
  if not detail then return true end
  return nil, err.new("invalid_request", detail, { errors = {
    { pointer = pointer, detail = detail, code = "required" } } })
end


-- Who did it is recorded with it.
local function tell(ctx, tx, action, subject, variant_id)
  local ok, e = audit.add({ actor = actor.of(ctx), action = action, subject = subject,
    detail = ctx.body, request_id = ctx.req.request_id }, tx)
  if not ok then return nil, e end
  return outbox.append(tx, { { aggregate = "stock:" .. variant_id, type = "stock.changed",
    payload = { variant_ids = { variant_id } } } })
end


local function put_policy(ctx)
  local ok, e = check(ctx.body)
  if not ok then return nil, e end
  local variant_id
  local made, e2 = ctx:transaction(function(tx)
    local set, why = backorders.set(tx, ctx.params.sku, ctx.body)
    if not set then return nil, why end
    variant_id = set.variant_id
    local told, why2 = tell(ctx, tx, "backorders.set", ctx.params.sku, variant_id)
    if not told then return nil, why2 end
    return ctx:json(200, { backorders = set })
  end)
  if made then catalog.moved { variant_id } end
  return made, e2
end


local function show_product(ctx, product_id)
  local found, e = products.load({ product_id })
  if not found then return nil, e end
  for _, v in ipairs(found[product_id].variants) do
    if v.id == ctx.params.id then
      return ctx:json(200, { variant = { id = v.id, sku = v.sku, parts = v.parts } })
    end
  end
end


local function put_parts(ctx)
  local product_id
  local made, e = ctx:transaction(function(tx)
    local why
    product_id, why = bundles.set(tx, ctx.params.id, ctx.body.parts)
    if not product_id then return nil, why end
    local told, why2 = tell(ctx, tx, "bundles.set", ctx.params.id, ctx.params.id)
    if told then
      told, why2 = outbox.append(tx, { { aggregate = "product:" .. product_id,
        type = "product.updated", payload = { product_id = product_id } } })
    end
    if not told then return nil, why2 end
    return ctx:json(200, {})
  end)
  if not made then return nil, e end
  catalog.forget({ product_id })
  catalog.moved { ctx.params.id }
  return show_product(ctx, product_id)
end


return {
  route.get("/admin/v1/inventory/{sku}/backorders", {
    summary = "May a SKU be sold before it is there?", tag = "inventory", auth = "admin",
    permission = "inventory.read", params = SKU,
    returns = { [200] = shapes.one("backorders", policy) }, handler = get_policy,
  }),
  route.put("/admin/v1/inventory/{sku}/backorders", {
    summary = "Say whether a SKU may be sold before it is there, and how much of it",
    tag = "inventory", auth = "admin", permission = "inventory.write", params = SKU,
    body = s.object({ policy = s.string { enum = { "deny", "backorder", "preorder" } },
      limit = s.integer { min = 0, max = 1000000000,
        doc = "Units that may be promised at a time: held by carts or sold, and not there yet." },
      available_at = s.nullable(s.string { format = "date-time" }) },
      { required = { "policy" } }),
    returns = { [200] = shapes.one("backorders", policy) }, handler = put_policy,
    errors = { "conflict" },
  }),
  route.put("/admin/v1/variants/{id}/parts", {
    summary = "Make a variant a bundle of others; no parts: it is none any more", tag = "inventory",
    auth = "admin", permission = "inventory.write", params = VARIANT,
    body = s.object({ parts = s.array(part, { max = 20 }) }, { required = { "parts" } }),
    returns = { [200] = true }, handler = put_parts, errors = { "conflict" },
  }),
}
