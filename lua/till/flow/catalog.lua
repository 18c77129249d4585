-- till/flow/catalog - the catalogue as reads get it: from the worker's cache, misses of one loop
-- turn gathered into few statements.
--
--   products(ids) -> { id -> product } | nil, err     one(id), find(id_or_handle)
--   variants(ids) -> { variant id -> all that a line of a cart needs } | nil, err
--   page(opts)    -> { id, title }, as till.store.products.list
--   categories()  -> all of them; category(id_or_handle) -> one | nil, err(not_found)
--   offers(products)    -> { variant id -> offer }    for shoppers' eyes, at most STOCK_MS old
--                          (till.store.offers)
--   offers_now(products) -> the same as it is now     for staff
--   forget(ids, handles)    products were changed, after the commit
--   forget_found()          lists and searches may find something else
--   forget_categories(), forget_all()
--   moved(variant_ids)      their stock was changed, after the commit; moved_all()
--
-- How old an answer may be: not at all for the worker that wrote; the others have the word of a
-- change before the writer is answered (till.cache). Without Redis two seconds. Stock comes from
-- what all workers share (till.flow.stock_view), and is kept here for at most STOCK_MS: what jobs
-- and cancelled orders give back is there as soon as its event is delivered.
-- What is sold is never decided here: stock and the limits of promotions are conditions in the
-- UPDATE that takes them, and the price is frozen with the order.
local cache = require "till.cache"
local categories = require "till.store.categories"
local err = require "till.util.err"
local id = require "till.util.id"
local json = require "till.prim.json"
local live_hints = require "till.flow.live_hints"
local loader = require "till.loader"
local offers = require "till.store.offers"
local products = require "till.store.products"
local stock_view = require "till.flow.stock_view"

local catalog = {}

local STOCK_MS = 1000
local MAX_PAGES = 1000

local rows = loader.new(products.load, { max = 100 })
local owners = loader.new(products.of_variants, { max = 500 })
local shown = loader.new(stock_view.get, { max = 500 })
local offers_of = loader.new(offers.load, { max = 500 })

cache.own("page", { max = MAX_PAGES })
cache.own("stock", { ttl_ms = STOCK_MS })


-- A variant stays with its product for good: whose it is comes along for nothing.
local function note_variants(product)
  for _, variant in ipairs(product.variants) do cache.put("variant", variant.id, product.id) end
end


local function load(product_id)
  local product, e = rows:load(product_id)
  if product then note_variants(product) end
  return product, e
end


local function load_many(ids)
  local found, e = rows:load_many(ids)
  if not found then return nil, e end
  for _, product in pairs(found) do note_variants(product) end
  return found
end


function catalog.one(product_id)
  return cache.get("product", product_id, load)
end


function catalog.products(ids)
  return cache.get_many("product", ids, load_many)
end


local function load_id(handle)
  local found, e = products.id_of(handle)
  return found or nil, e
end


--- A handle is found out once and then known: handles of products hardly ever change.
function catalog.find(key)
  local product_id = id.valid("prod", key) and key
  if not product_id then
    local e
    product_id, e = cache.get("handle", key, load_id)
    if not product_id then return product_id, e end
  end
  local product, e2 = catalog.one(product_id)
  if e2 then return nil, e2 end
  if product and product_id ~= key and product.handle ~= key then return nil end
  return product
end


-- ---- lines of carts ----------------------------------------------------------------------

local lines = setmetatable({}, { __mode = "k" }) -- product -> variant id -> line variant


local function to_line(product, variant)
  return {
    id = variant.id, sku = variant.sku, title = variant.title, weight_g = variant.weight_g,
    prices = variant.prices, product_id = product.id, product_title = product.title,
    product_version = product.version, handle = product.handle, image = product.image,
    tax_class = product.tax_class, tags = product.tags, parts = variant.parts,
    sellable = product.status == "active" and not variant.archived,
  }
end


local function lines_of(product)
  local known = lines[product]
  if known then return known end
  known = {}
  for _, variant in ipairs(product.variants) do known[variant.id] = to_line(product, variant) end
  lines[product] = known
  return known
end


local function load_owners(variant_ids)
  return owners:load_many(variant_ids)
end


--- `product_version` names the row that the prices are of. Who changes what he gets here changes
-- the cache.
function catalog.variants(variant_ids)
  if #variant_ids == 0 then return {} end
  local product_of, e = cache.get_many("variant", variant_ids, load_owners)
  if not product_of then return nil, e end
  local ids = {}
  for _, product_id in pairs(product_of) do ids[#ids + 1] = product_id end
  local found, e2 = catalog.products(ids)
  if not found then return nil, e2 end
  local out = {}
  for variant_id, product_id in pairs(product_of) do
    local product = found[product_id]
    out[variant_id] = product and lines_of(product)[variant_id]
  end
  return out
end


-- ---- lists ---------------------------------------------------------------------------------

function catalog.page(opts)
  return cache.get("page", json.encode(opts), function() return products.list(opts) end)
end


local function load_categories()
  return categories.all()
end


function catalog.categories()
  return cache.get("categories", "all", load_categories)
end


function catalog.category(key)
  local list, e = catalog.categories()
  if not list then return nil, e end
  for _, c in ipairs(list) do
    if c.id == key or c.handle == key then return c end
  end
  return nil, err.new("not_found", "there is no such category")
end


-- ---- stock ---------------------------------------------------------------------------------

local function variants_of(list)
  local ids = {}
  for _, product in ipairs(list) do
    for _, variant in ipairs(product.variants) do ids[#ids + 1] = variant.id end
  end
  return ids
end


local function load_shown(variant_ids)
  return shown:load_many(variant_ids)
end


function catalog.offers(list)
  local ids = variants_of(list)
  if #ids == 0 then return {} end
  return cache.get_many("stock", ids, load_shown)
end


function catalog.offers_now(list)
  local ids = variants_of(list)
  if #ids == 0 then return {} end
  return offers_of:load_many(ids)
end


-- ---- changes -------------------------------------------------------------------------------

function catalog.forget(ids, handles)
  cache.invalidate("product", ids)
  if handles then cache.invalidate("handle", handles) end
  catalog.forget_found()
end


function catalog.forget_found()
  cache.flush { "page", "search" }
end


function catalog.forget_categories()
  cache.invalidate("categories", { "all" })
  catalog.forget_found()
end


function catalog.forget_all()
  cache.flush()
end


function catalog.moved_all()
  cache.flush { "stock" }
end


function catalog.moved(variant_ids)
  cache.invalidate("stock", variant_ids, function(channel, text)
    return stock_view.stale(variant_ids, channel, text)
  end)
  live_hints.stock(variant_ids)
end


return catalog
