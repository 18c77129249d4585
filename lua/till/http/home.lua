-- till/http/home - the front page of a running shop: some products, a search, the way to the API.
-- It is a window to look through, drawn on the server; a storefront is a client of its own.
local conf = require "till.prim.conf"
local co = require "till.prim.co"
local search = require "till.flow.search"
local categories = require "till.store.categories"
local products = require "till.store.products"
local money = require "till.money"
local page = require "till.http.page"
local route = require "till.http.route"
local s = require "till.util.schema"
local url = require "till.util.url"

local h = page.h
local SHOWN = 24


-- Lowest list price of anything in it, in the currency of the shop.
local function price_of(product, currency)
  local lowest
  for _, variant in ipairs(product.variants) do
    for _, price in ipairs(variant.prices) do
      if price.currency == currency and not price.customer_group and not price.starts_at
        and (price.min_qty or 1) == 1 and (not lowest or price.amount < lowest) then
        lowest = price.amount
      end
    end
  end
  return lowest and money.format(lowest, currency) .. " " .. currency
end


-- Only pictures of our own may be shown: the policy of the page forbids all others.
local function picture(product)
  local image = product.image
  if type(image) == "table" then image = image.url or image.src end
  if type(image) ~= "string" or not image:find("^/[^/]") then return h.div { class = "blank" } end
  return h.img { src = image, alt = "", loading = "lazy", width = "320", height = "240" }
end


local function card(product, currency)
  local price = price_of(product, currency)
  return h.li { class = "card", picture(product), h.div { class = "text",
    h.div { class = "title", product.title },
    price and h.div { class = "price", price } } }
end


local function wanted_ids(query)
  if query.q and query.q ~= "" then
    local found, failure = search.run(query.q, { category_id = query.category })
    if not found then return nil, failure end
    return found.ids, nil, found.corrections
  end
  local rows, failure = products.list { status = "active", limit = SHOWN,
    category = query.category }
  if not rows then return nil, failure end
  local ids = {}
  for i, row in ipairs(rows) do ids[i] = row.id end
  return ids
end


local function cards(query)
  local ids, failure, corrections = wanted_ids(query)
  if not ids then return nil, failure end
  local shown = {}
  for i = 1, math.min(#ids, SHOWN) do shown[i] = ids[i] end
  local by_id
  by_id, failure = products.load(shown)
  if not by_id then return nil, failure end
  local out, currency = {}, conf.get("shop.currency")
  for _, id in ipairs(shown) do
    if by_id[id] then out[#out + 1] = card(by_id[id], currency) end
  end
  return out, #ids, corrections
end


local function category_links(chosen)
  local all = categories.all()
  local out = {}
  for _, category in ipairs(all or {}) do
    if not category.parent_id then
      out[#out + 1] = h.li { h.a { href = "/?" .. url.build { category = category.id },
        ["aria-current"] = chosen == category.id and "true", category.title } }
    end
  end
  return #out > 0 and h.ul { class = "chips", out }
end


local function heading(query, count, corrections)
  if not query.q or query.q == "" then return h.h1 { "From the catalogue" } end
  local taken = {}
  for _, word in pairs(corrections or {}) do taken[#taken + 1] = word end
  table.sort(taken)
  return { h.h1 { ("%d found for “%s”"):format(count, query.q) },
    #taken > 0 and h.p { class = "soft", "Taken for: " .. table.concat(taken, ", ") } }
end


local function head(shop)
  return h.header { h.a { class = "name", href = "/", shop },
    h.nav { h.a { href = "/docs", "API" }, h.a { href = "/openapi.json", "openapi.json" },
      h.a { href = "/static/README.txt", "README" } } }
end


local function serve(ctx)
  local query, shop = ctx.query, conf.get("shop.name")
  local list, count, corrections = cards(query)
  if not list then return nil, count end
  return page.response { title = shop, lang = conf.get("shop.locale"), body = { head(shop),
    h.main {
      h.form { class = "search", action = "/", method = "get", role = "search",
        h.input { type = "search", name = "q", value = query.q or "", maxlength = "200",
          placeholder = "Search the shop", ["aria-label"] = "Search the shop" },
        h.button { type = "submit", "Search" } },
      category_links(query.category),
      heading(query, count, corrections),
      #list > 0 and h.ul { class = "grid", list } or h.p { class = "soft", "Nothing here." },
    },
    h.footer { shop .. " runs on Moontill, generation ",
      h.code { tostring(co.generation()):sub(1, 12) } } } }
end


return {
  route.get("/", { auth = "none", html = true, handler = serve, query = {
    q = s.string { max = 200 }, category = s.id("cat"),
  } }),
}
