-- till/http/store_api/search - what shoppers type into the search box.
local catalog = require "till.flow.catalog"
local conf = require "till.prim.conf"
local cursor = require "till.util.cursor"
local json = require "till.prim.json"
local product_json = require "till.http.product_json"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local search = require "till.flow.search"
local shapes = require "till.http.shapes"


local PATH = "/store/v1/search"
local MAX_AMOUNT = 2 ^ 53 - 1


-- Ranked results are no table that grows: a cursor is a place among at most 500.
local function first_place(ctx)
  if not ctx.query.after then
    return 1
  end
  local keys, failure = cursor.read(PATH, ctx.query.after)
  return keys and keys[1] + 1, failure
end


local function page_of(ids, from, limit)
  local page = {}
  for i = from, math.min(#ids, from + limit - 1) do
    page[#page + 1] = ids[i]
  end
  return page
end


local function product_views(ids, currency)
  local by_id, failure = catalog.products(ids)
  if not by_id then
    return nil, failure
  end
  local list = {}
  for _, id in ipairs(ids) do
    list[#list + 1] = by_id[id]
  end
  local offers
  offers, failure = catalog.offers(list)
  if not offers then
    return nil, failure
  end
  local out = {}
  for i, product in ipairs(list) do
    out[i] = product_json(product, currency, offers)
  end
  return json.array(out)
end


local function facet_views(facets, currency)
  local prices = {}
  for i, band in ipairs(facets.prices) do
    prices[i] = { min = render.money(band.min, currency),
      max = band.max and render.money(band.max, currency), count = band.count }
  end
  return { categories = json.array(facets.categories), prices = json.array(prices) }
end


local function filter_of(ctx)
  local query = ctx.query
  local filter = { currency = query.currency or conf.get("shop.currency"),
    price_min = query.price_min, price_max = query.price_max }
  if query.category then
    local category, failure = catalog.category(query.category)
    if not category then
      return nil, failure
    end
    filter.category_id = category.id
  end
  return filter
end


local function handler(ctx)
  local filter, failure = filter_of(ctx)
  if not filter then
    return nil, failure
  end
  local from
  from, failure = first_place(ctx)
  if not from then
    return nil, failure
  end
  local found
  found, failure = search.run(ctx.query.q, filter)
  if not found then
    return nil, failure
  end
  local limit = ctx.query.limit
  local data
  data, failure = product_views(page_of(found.ids, from, limit), filter.currency)
  if not data then
    return nil, failure
  end
  local more = #found.ids >= from + limit
  return ctx:json(200, { data = data, has_more = more,
    next_cursor = more and cursor.make(PATH, { from + limit - 1 }) or nil,
    facets = facet_views(found.facets, filter.currency), corrections = found.corrections },
    { keep_ms = conf.get("cache.page_ms") })
end


local FACETS = s.object({
  categories = s.array(s.object({ id = s.string {}, handle = s.string {}, title = s.string {},
    count = s.integer {} }, { required = { "id", "handle", "title", "count" } })),
  prices = s.array(s.object({ min = s.money(), max = s.money(), count = s.integer {} },
    { required = { "min", "count" } })),
}, { required = { "categories", "prices" }, doc = "How many results each filter would leave." })


return {
  route.get(PATH, {
    summary = "Search: words, their beginnings, one letter off, or sounding alike",
    tag = "catalogue", auth = "store",
    query = {
      q = s.string { max = 200, required = true, doc = "What the shopper typed." },
      category = s.string { max = 191, doc = "Id or handle." },
      currency = s.string { format = "currency", doc = "Of the prices." },
      price_min = s.integer { min = 0, max = MAX_AMOUNT, doc = "Minor units." },
      price_max = s.integer { min = 0, max = MAX_AMOUNT, doc = "Minor units." },
      limit = s.integer { min = 1, max = 100, default = 20 },
      after = s.string { max = 500, doc = "next_cursor of the page before." },
    },
    returns = { [200] = s.object({ data = s.array(shapes.product), has_more = s.boolean {},
      next_cursor = s.string {}, facets = FACETS,
      corrections = s.map(s.string { doc = "What a word was taken for." }) },
      { required = { "data", "has_more", "facets" } }) },
    handler = handler,
  }),
}
