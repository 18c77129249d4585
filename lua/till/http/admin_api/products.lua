-- till/http/admin_api/products - products with their variants and prices, for staff.
local actor = require "till.http.actor"
local catalog = require "till.flow.catalog"
local err = require "till.util.err"
local outbox = require "till.prim.outbox"
local products = require "till.store.products"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"
local write = require "till.store.products_write"

local PARAMS = { id = s.id("prod") }
local STATUS = s.string { enum = { "active", "draft", "archived" } }

local price = s.object({
  currency = s.string { format = "currency" }, amount = s.integer { min = 0 },
  list = s.string { max = 64 }, kind = s.string { enum = { "base", "sale", "override" } },
  customer_group = s.nullable(s.string { min = 1, max = 64 }),
  min_qty = s.integer { min = 1, max = 1000000 },
  starts_at = s.nullable(s.string { format = "date-time" }),
  ends_at = s.nullable(s.string { format = "date-time" }),
}, { required = { "currency", "amount" }, name = "NewPrice" })

local prices = s.array(price, { max = 500 })

local variant = s.object({
  id = s.id("var", { doc = "Of one that is there; without it a new one is made." }),
  sku = s.string { min = 1, max = 100 }, title = s.string { max = 255 },
  options = s.map(s.string { max = 120 }), weight_g = s.integer { min = 0, max = 10000000 },
  position = s.integer { min = 0, max = 100000 },
  external_ref = s.nullable(s.string { min = 1, max = 191 }), prices = prices,
}, { name = "NewVariant" })

local FIELDS = {
  handle = s.string { min = 1, max = 191, pattern = "^[%w._-]+$" },
  title = s.string { min = 1, max = 255 }, description = s.string { max = 10000 },
  status = STATUS, tax_class = s.string { min = 1, max = 64 },
  tags = s.array(s.string { min = 1, max = 120 }, { max = 100 }),
  image = s.nullable(s.string { max = 512 }),
  external_ref = s.nullable(s.string { min = 1, max = 191 }),
  options = s.array(s.string { min = 1, max = 64 }, { max = 5 }),
  category_ids = s.array(s.id("cat"), { max = 50 }), variants = s.array(variant, { max = 200 }),
}


local function missing()
  return nil, err.new("not_found", "there is no such product")
end


local function show(ctx, status, product)
  local offers, e = catalog.offers_now({ product })
  if not offers then return nil, e end
  return ctx:json(status, { product = views.product(product, { admin = true,
    offers = offers }) }, { etag = product.version })
end


local function read(product_id)
  local by_id, e = products.load({ product_id })
  if not by_id then return nil, e end
  if not by_id[product_id] then return missing() end
  return by_id[product_id]
end


local function tell(tx, product_id)
  return outbox.append(tx, { { aggregate = "product:" .. product_id, type = "product.updated",
    payload = { product_id = product_id } } })
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local heads, e2 = products.list { status = ctx.query.status, limit = page.limit,
    after = page.after, before = page.before }
  if not heads then return nil, e2 end
  local ids, rows = {}, {}
  for i, head in ipairs(heads) do ids[i] = head.id end
  local by_id, e3 = products.load(ids)
  if not by_id then return nil, e3 end
  for _, head in ipairs(heads) do
    if by_id[head.id] then rows[#rows + 1] = by_id[head.id] end
  end
  local offers, e4 = catalog.offers_now(rows)
  if not offers then return nil, e4 end
  return ctx:json(200, ctx:list(rows, page, function(p)
    return views.product(p, { admin = true, offers = offers })
  end, function(p) return { p.id } end))
end


local function get(ctx)
  local product, e = read(ctx.params.id)
  if not product then return nil, e end
  return show(ctx, 200, product)
end


local function need_skus(variants)
  for i, v in ipairs(variants or {}) do
    if not v.id and not v.sku then
      return nil, err.new("invalid_request", "a new variant needs a SKU", { errors = {
        { pointer = ("/variants/%d/sku"):format(i - 1), detail = "is missing",
          code = "required" } } })
    end
  end
  return true
end


local function create(ctx)
  local ok, e = need_skus(ctx.body.variants)
  if not ok then return nil, e end
  local made, e2 = ctx:transaction(function(tx)
    local product_id, why = write.create(tx, ctx.body, actor.of(ctx))
    if not product_id then return nil, why end
    local told, why2 = tell(tx, product_id)
    if not told then return nil, why2 end
    local by_id, why3 = products.load({ product_id }, tx)
    if not by_id then return nil, why3 end
    local product = by_id[product_id]
    return ctx:json(201, { product = views.product(product, { admin = true }) },
      { etag = product.version, headers = { location = "/admin/v1/products/" .. product.id } })
  end)
  if not made then return nil, e2 end
  catalog.forget({}, { ctx.body.handle })
  return made
end


-- The row is locked, the version compared, then `fn` changes it.
local function change(ctx, product_id, fn)
  local done, e = ctx:transaction(function(tx)
    local row, why = products.lock(tx, product_id)
    if row == false then return missing() end
    if not row then return nil, why end
    local ok, why2 = ctx:matches(row.version)
    if ok then ok, why2 = fn(tx) end
    if ok then ok, why2 = tell(tx, product_id) end
    if not ok then return nil, why2 end
    return ctx:json(200, {})
  end)
  if not done then return nil, e end
  catalog.forget({ product_id }, { ctx.body and ctx.body.handle })
  return true
end


local function update(ctx)
  local ok, e = need_skus(ctx.body.variants)
  if not ok then return nil, e end
  ok, e = change(ctx, ctx.params.id, function(tx)
    return write.update(tx, ctx.params.id, ctx.body, actor.of(ctx))
  end)
  if not ok then return nil, e end
  return get(ctx)
end


local function archive(ctx)
  local ok, e = change(ctx, ctx.params.id, function(tx)
    return write.update(tx, ctx.params.id, { status = "archived" }, actor.of(ctx))
  end)
  if not ok then return nil, e end
  return ctx:empty()
end


local function put_prices(ctx)
  local variant_id, product = ctx.params.id, nil
  local done, e = ctx:transaction(function(tx)
    local why
    product, why = write.touch_of_variant(tx, variant_id)
    if product == false then return nil, err.new("not_found", "there is no such variant") end
    if not product then return nil, why end
    local ok, why2 = ctx:matches(product.version)
    if ok then ok, why2 = write.set_prices(tx, variant_id, ctx.body.prices, actor.of(ctx)) end
    if ok then ok, why2 = tell(tx, product.id) end
    if not ok then return nil, why2 end
    return ctx:json(200, {})
  end)
  if not done then return nil, e end
  catalog.forget({ product.id })
  ctx.params = { id = product.id }
  return get(ctx)
end


local one = { [200] = shapes.one("product", shapes.product) }

return {
  route.get("/admin/v1/products", {
    summary = "All products", tag = "products", auth = "admin", permission = "products.read",
    page = true, query = { status = STATUS }, returns = { [200] = shapes.list(shapes.product) },
    handler = list,
  }),
  route.post("/admin/v1/products", {
    summary = "Make a product", tag = "products", auth = "admin", permission = "products.write",
    idempotency = "optional", body = s.object(FIELDS, { required = { "handle", "title" } }),
    returns = { [201] = shapes.one("product", shapes.product) }, handler = create,
  }),
  route.get("/admin/v1/products/{id}", {
    summary = "One product", tag = "products", auth = "admin", permission = "products.read",
    params = PARAMS, returns = one, handler = get,
  }),
  route.patch("/admin/v1/products/{id}", {
    summary = "Change a product; variants, when given, are all of them", tag = "products",
    auth = "admin", permission = "products.write", params = PARAMS, if_match = "required",
    body = s.object(FIELDS), returns = one, handler = update,
  }),
  route.delete("/admin/v1/products/{id}", {
    summary = "Archive a product", tag = "products", auth = "admin",
    permission = "products.write", params = PARAMS, if_match = "required",
    returns = { [204] = true }, handler = archive,
  }),
  route.put("/admin/v1/variants/{id}/prices", {
    summary = "All prices of a variant", tag = "products", auth = "admin",
    permission = "prices.write", params = { id = s.id("var") }, if_match = "optional",
    body = s.object({ prices = prices }, { required = { "prices" } }), returns = one,
    handler = put_prices,
  }),
}
