-- till/http/store_api/products - the catalogue as shoppers see it.
local catalog = require "till.flow.catalog"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local product_json = require "till.http.product_json"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.http.views"

local CURRENCY = s.string { format = "currency", doc = "Of the prices; the shop's own if absent." }


local function missing(what)
  return nil, err.new("not_found", "there is no such " .. what)
end


local function currency_of(ctx)
  return ctx.query.currency or conf.get("shop.currency")
end


local function keys_of(query)
  return function(row)
    if query.sort == "title" then return { row.title, row.id } end
    return { row.id }
  end
end


local function render_list(ctx, heads, page)
  local ids = {}
  for i, head in ipairs(heads) do ids[i] = head.id end
  local by_id, e = catalog.products(ids)
  if not by_id then return nil, e end
  local list, rows = {}, {}
  for _, head in ipairs(heads) do
    if by_id[head.id] then
      list[#list + 1], rows[#rows + 1] = by_id[head.id], head
    end
  end
  local offers, e2 = catalog.offers(list)
  if not offers then return nil, e2 end
  local currency = currency_of(ctx)
  return ctx:json(200, ctx:list(rows, page, function(head)
    return product_json(by_id[head.id], currency, offers)
  end, keys_of(ctx.query)), { keep_ms = conf.get("cache.page_ms") })
end


local function list_products(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local opts = { status = "active", limit = page.limit, after = page.after, before = page.before,
    sort = ctx.query.sort }
  if ctx.query.category then
    local category, e2 = catalog.category(ctx.query.category)
    if not category then return nil, e2 end
    opts.category = category.id
  end
  local heads, e3 = catalog.page(opts)
  if not heads then return nil, e3 end
  return render_list(ctx, heads, page)
end


local function get_product(ctx)
  local product, e = catalog.find(ctx.params.id)
  if e then return nil, e end
  if not product or product.status ~= "active" then return missing("product") end
  local offers, e2 = catalog.offers({ product })
  if not offers then return nil, e2 end
  local currency = currency_of(ctx)
  local free, version = 0, 0
  for _, v in ipairs(product.variants) do
    free, version = free + offers[v.id].available, version + offers[v.id].version
  end
  return ctx:json(200, { product = product_json(product, currency, offers) },
    { etag = ("%d-%s-%d-%d"):format(product.version, currency, free, version),
      keep_ms = conf.get("cache.page_ms") })
end


local function get_categories(ctx)
  local list, e = catalog.categories()
  if not list then return nil, e end
  return ctx:json(200, { data = views.category_tree(list), has_more = false },
    { keep_ms = conf.get("cache.page_ms") })
end


return {
  route.get("/store/v1/products", {
    summary = "Products that are sold", tag = "catalogue", auth = "store", page = true,
    query = { category = s.string { max = 191, doc = "Id or handle." }, currency = CURRENCY,
      sort = s.string { enum = { "created", "title" }, default = "created" } },
    returns = { [200] = shapes.list(shapes.product) }, handler = list_products,
  }),
  route.get("/store/v1/products/{id}", {
    summary = "One product, by id or handle", tag = "catalogue", auth = "store",
    query = { currency = CURRENCY }, returns = { [200] = shapes.one("product", shapes.product) },
    handler = get_product,
  }),
  route.get("/store/v1/categories", {
    summary = "The tree of categories", tag = "catalogue", auth = "store",
    returns = { [200] = shapes.list(shapes.category) }, handler = get_categories,
  }),
}
