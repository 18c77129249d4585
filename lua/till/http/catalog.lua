-- till/http/catalog - products as reads get them: from the worker's cache, misses of one loop turn
-- gathered into few statements. Stock is never cached.
--
--   products(ids) -> { id -> product } | nil, err     one(id), find(id_or_handle)
--   available(products) -> { variant id -> units }
--   forget(ids)                                       after the commit that changed them
local cache = require "till.cache"
local id = require "till.util.id"
local loader = require "till.loader"
local products = require "till.store.products"
local stock = require "till.store.stock"

local catalog = {}

local rows = loader.new(products.load, { max = 100 })
local free = loader.new(stock.available, { max = 500 })


local function load(product_id)
  return rows:load(product_id)
end


local function load_many(ids)
  return rows:load_many(ids)
end


function catalog.one(product_id)
  return cache.get("product", product_id, load)
end


function catalog.products(ids)
  return cache.get_many("product", ids, load_many)
end


--- A handle is found out once and then known: handles of products hardly ever change.
function catalog.find(key)
  local product_id = id.valid("prod", key) and key
  if not product_id then
    local e
    product_id, e = cache.get("handle", key, function(handle)
      local found, why = products.id_of(handle)
      return found or nil, why
    end)
    if not product_id then return product_id, e end
  end
  local product, e2 = catalog.one(product_id)
  if e2 then return nil, e2 end
  if product and product_id ~= key and product.handle ~= key then return nil end
  return product
end


function catalog.available(list)
  local ids = {}
  for _, product in ipairs(list) do
    for _, variant in ipairs(product.variants) do ids[#ids + 1] = variant.id end
  end
  if #ids == 0 then return {} end
  return free:load_many(ids)
end


function catalog.forget(ids, handles)
  cache.invalidate("product", ids)
  if handles then cache.invalidate("handle", handles) end
end


return catalog
