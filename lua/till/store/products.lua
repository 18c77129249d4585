-- till/store/products - products with their variants, options, prices and categories.
--
--   load(ids [, tx])       list of public ids -> { id -> product }; six statements however many
--   id_of(handle)          -> public id | false | nil, err
--   of_variants(ids)       -> { variant id -> product id } | nil, err;  ids_of_skus(skus) likewise
--   list{status=, category=, sort=, limit=, after=, before=} -> { id, title }, as page.rows reads
--   lock(tx, id)           -> { version, status } | false: the row is ours until the end of tx
--
-- A product: id, handle, title, description, status, tax_class, tags, image, external_ref, version,
-- created_at, updated_at, options (names), categories { id, handle, title }, variants { id, sku,
-- title, options, weight_g, position, archived, prices { … } }. Stock is not in it: it changes with
-- every order (till.store.stock).
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local id = require "till.util.id"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local products = {}

local AT_ONCE = 1024 -- prices of so many variants; a statement takes 2000 parameters

local COLUMNS = "id, handle, title, description, status, tax_class, tags, image, external_ref,"
  .. " version, created_at, updated_at"


local function to_product(row)
  return {
    id = id.text("prod", row.id), handle = row.handle, title = row.title,
    description = row.description, status = row.status, tax_class = row.tax_class,
    tags = db.json(row.tags) or {}, image = row.image, external_ref = row.external_ref,
    version = row.version, created_at = row.created_at, updated_at = row.updated_at,
    options = {}, categories = {}, variants = {},
  }
end


local function to_price(row)
  return {
    currency = row.currency, list = row.list, kind = row.kind, min_qty = row.min_qty,
    customer_group = row.customer_group, starts_at = row.starts_at, ends_at = row.ends_at,
    amount = row.amount,
  }
end


local function to_parts(text)
  local parts = db.json(text)
  for i, part in ipairs(parts or {}) do
    parts[i] = { variant_id = id.text("var", crypto.hex_decode(part.id)), sku = part.sku,
      quantity = part.quantity }
  end
  return parts
end


local function to_variant(row, prices)
  local out = {}
  for i, price in ipairs(prices or {}) do out[i] = to_price(price) end
  return {
    id = id.text("var", row.id), sku = row.sku, title = row.title,
    options = db.json(row.options) or {}, weight_g = row.weight_g, position = row.position,
    external_ref = row.external_ref, archived = row.archived_at ~= nil or nil, prices = out,
    parts = to_parts(row.parts),
  }
end


local function price_rows(conn, variants)
  local all = {}
  for from = 1, #variants, AT_ONCE do
    local bins = {}
    for i = from, math.min(#variants, from + AT_ONCE - 1) do
      bins[#bins + 1] = sql.bytes(variants[i].id)
    end
    db.padded(bins)
    local rows, e = conn:query("SELECT variant_id, currency, list, kind, customer_group, min_qty,"
      .. " starts_at, ends_at, amount FROM prices WHERE variant_id IN (" .. sql.marks(#bins)
      .. ") ORDER BY currency, kind, list, min_qty, amount, id", unpack(bins))
    if not rows then return nil, e end
    for _, row in ipairs(rows) do all[#all + 1] = row end
  end
  return db.group(all, "variant_id")
end


-- Of a bundle, in the statement that reads the variants anyway.
local PARTS = "(SELECT JSON_ARRAYAGG(JSON_OBJECT('id', HEX(p.variant_id), 'sku', part.sku,"
  .. " 'quantity', p.quantity)) FROM bundle_parts p JOIN variants part ON part.id = p.variant_id"
  .. " WHERE p.bundle_id = variants.id) AS parts"


local function add_variants(conn, by_bin, bins)
  local rows, e = conn:query("SELECT id, product_id, sku, title, options, weight_g, position,"
    .. " external_ref, archived_at, " .. PARTS .. " FROM variants WHERE product_id IN ("
    .. sql.marks(#bins)
    .. ") ORDER BY position, id", unpack(bins))
  if not rows then return nil, e end
  local prices, e2 = price_rows(conn, rows)
  if not prices then return nil, e2 end
  for _, row in ipairs(rows) do
    local list = by_bin[row.product_id].variants
    list[#list + 1] = to_variant(row, prices[row.id])
  end
  return true
end


local function add_names(conn, by_bin, bins)
  local marks = sql.marks(#bins)
  local options, e = conn:query("SELECT product_id, name FROM product_options WHERE product_id IN ("
    .. marks .. ") ORDER BY position", unpack(bins))
  if not options then return nil, e end
  for _, row in ipairs(options) do
    local list = by_bin[row.product_id].options
    list[#list + 1] = row.name
  end
  local cats, e2 = conn:query("SELECT pc.product_id, c.id, c.handle, c.title"
    .. " FROM product_categories pc JOIN categories c ON c.id = pc.category_id"
    .. " WHERE pc.product_id IN (" .. marks .. ") ORDER BY c.position, c.handle", unpack(bins))
  if not cats then return nil, e2 end
  for _, row in ipairs(cats) do
    local list = by_bin[row.product_id].categories
    list[#list + 1] = { id = id.text("cat", row.id), handle = row.handle, title = row.title }
  end
  return true
end


function products.load(ids, tx)
  local out, by_bin = {}, {}
  if #ids == 0 then return out end
  local conn, bins = db.on(tx), db.bins("prod", ids)
  local rows, e = conn:query("SELECT " .. COLUMNS .. " FROM products WHERE id IN ("
    .. sql.marks(#bins) .. ")", unpack(bins))
  if not rows then return nil, e end
  if #rows == 0 then return out end
  local found = {}
  for i, row in ipairs(rows) do
    local product = to_product(row)
    by_bin[row.id], out[product.id], found[i] = product, product, sql.bytes(row.id)
  end
  db.padded(found)
  local ok, e2 = add_variants(conn, by_bin, found)
  if ok then ok, e2 = add_names(conn, by_bin, found) end
  if not ok then return nil, e2 end
  return out
end


function products.id_of(handle)
  local row, e = sql.one("SELECT id FROM products WHERE handle = ?", handle)
  if not row then return row, e end
  return id.text("prod", row.id)
end


function products.list(opts)
  local where, args = {}, {}
  local from = "products p"
  if opts.category then
    from = "product_categories pc JOIN products p ON p.id = pc.product_id"
    where[1], args[1] = "pc.category_id = ?", db.bin("cat", opts.category)
  end
  if opts.status then
    where[#where + 1], args[#args + 1] = "p.status = ?", opts.status
  end
  local rows, e = page.rows {
    select = "p.id, p.title", from = from, where = where, args = args, opts = opts,
    key = opts.sort == "title" and "p.title" or nil, id = "p.id", prefix = "prod",
    newest_first = opts.sort ~= "title",
  }
  if not rows then return nil, e end
  local out = {}
  for i, row in ipairs(rows) do out[i] = { id = id.text("prod", row.id), title = row.title } end
  return out
end


function products.lock(tx, product_id)
  return tx:one("SELECT version, status FROM products WHERE id = ? FOR UPDATE",
    db.bin("prod", product_id))
end


--- Whose the variants are: variant id -> product id.
function products.of_variants(variant_ids)
  local out, bins = {}, db.bins("var", variant_ids)
  if #bins == 0 then return out end
  local rows, e = sql.query("SELECT id, product_id FROM variants WHERE id IN ("
    .. sql.marks(#bins) .. ")", unpack(bins))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    out[id.text("var", row.id)] = id.text("prod", row.product_id)
  end
  return out
end


--- SKU -> id of the variant.
function products.ids_of_skus(skus)
  local out, args = {}, db.padded({ unpack(skus) })
  if #args == 0 then return out end
  local rows, e = sql.query("SELECT sku, id FROM variants WHERE sku IN ("
    .. sql.marks(#args) .. ")", unpack(args))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do out[row.sku] = id.text("var", row.id) end
  return out
end


return products
