-- till/store/products_write - changes of products; a part of till.store.products, inside a
-- transaction of the caller, who holds the row (products.lock) when it is there already.
--
--   create(tx, fields) -> public id    fields as in products, variants with prices besides
--   update(tx, id, fields)             only the fields that are given; raises the version
--   archive(tx, id)
--   set_prices(tx, variant_id, prices, source) replaces them and writes the history
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local write = {}

local FIELDS = { "handle", "title", "description", "status", "tax_class", "image", "external_ref" }


local function options_of(tx, product_id, names)
  local bin = db.bin("prod", product_id)
  local ok, e = tx:exec("DELETE FROM product_options WHERE product_id = ?", bin)
  for i, name in ipairs(names) do
    if not ok then break end
    ok, e = tx:exec("INSERT INTO product_options (product_id, position, name) VALUES (?, ?, ?)",
      bin, i, name)
  end
  return ok, e
end


local function categories_of(tx, product_id, ids)
  local bin = db.bin("prod", product_id)
  local ok, e = tx:exec("DELETE FROM product_categories WHERE product_id = ?", bin)
  if not ok then return nil, e end
  for i, category_id in ipairs(ids) do
    local row
    row, e = tx:one("SELECT id FROM categories WHERE id = ?", db.bin("cat", category_id))
    if row == false then
      return nil, err.new("invalid_request", "one of the categories is not there", { errors = {
        { pointer = "/category_ids/" .. (i - 1), detail = "is not a category", code = "unknown" },
      } })
    end
    if not row then return nil, e end
    ok, e = tx:exec("INSERT INTO product_categories (product_id, category_id, position)"
      .. " VALUES (?, ?, ?)", bin, sql.bytes(row.id), i)
    if not ok then return nil, e end
  end
  return true
end


local function history(tx, variant_bin, prices, source)
  for _, p in ipairs(prices) do
    if (p.kind or "base") == "base" and (p.min_qty or 1) == 1 then
      local ok, e = tx:exec("INSERT INTO price_history (variant_id, currency, amount, at, source)"
        .. " VALUES (?, ?, ?, ?, ?)", variant_bin, p.currency, p.amount, db.now(), source)
      if not ok then return nil, e end
    end
  end
  return true
end


function write.set_prices(tx, variant_id, prices, source)
  local bin = db.bin("var", variant_id)
  local ok, e = tx:exec("DELETE FROM prices WHERE variant_id = ?", bin)
  for _, p in ipairs(prices) do
    if not ok then return nil, e end
    ok, e = tx:exec("INSERT INTO prices (id, variant_id, currency, list, kind, customer_group,"
      .. " min_qty, starts_at, ends_at, amount) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      sql.bytes(require("till.prim.ulid").new()), bin, p.currency, db.given(p.list) or "",
      p.kind or "base", db.given(p.customer_group) or sql.null, p.min_qty or 1,
      db.at(p.starts_at), db.at(p.ends_at), p.amount)
  end
  if not ok then return nil, e end
  return history(tx, bin, prices, source)
end


local function taken(e, sku)
  if err.is(e, "duplicate") then
    return err.new("duplicate", ("there is a variant with the SKU %s already"):format(sku),
      { public = true })
  end
  return e
end


local function insert_variant(tx, product_id, v, position)
  local variant_id = id.new("var")
  local ok, e = tx:exec("INSERT INTO variants (id, product_id, sku, title, options, weight_g,"
    .. " position, external_ref) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", db.bin("var", variant_id),
    db.bin("prod", product_id), v.sku, db.given(v.title) or "", db.to_json(v.options or {}),
    v.weight_g or 0, v.position or position, db.given(v.external_ref) or sql.null)
  if not ok then return nil, taken(e, v.sku) end
  return variant_id
end


local function update_variant(tx, product_id, v, position)
  local row, e = tx:one("SELECT sku, title, options, weight_g FROM variants"
    .. " WHERE id = ? AND product_id = ?", db.bin("var", v.id), db.bin("prod", product_id))
  if row == false then return nil, err.new("not_found", "the product has no variant " .. v.id) end
  if not row then return nil, e end
  local ok, e2 = tx:exec("UPDATE variants SET sku = ?, title = ?, options = ?, weight_g = ?,"
    .. " position = ?, archived_at = NULL WHERE id = ?", v.sku or row.sku, v.title or row.title,
    v.options and db.to_json(v.options) or row.options, v.weight_g or row.weight_g,
    v.position or position, db.bin("var", v.id))
  if not ok then return nil, taken(e2, v.sku) end
  return v.id
end


-- Variants that are not named any more are archived: orders and stock still speak of them.
local function archive_others(tx, product_id, kept)
  local bins = db.bins("var", kept)
  return tx:exec("UPDATE variants SET archived_at = ? WHERE product_id = ? AND archived_at IS NULL"
    .. (#bins > 0 and " AND id NOT IN (" .. sql.marks(#bins) .. ")" or ""), db.now(),
    db.bin("prod", product_id), unpack(bins))
end


local function variants_of(tx, product_id, list, source)
  local kept = {}
  for i, v in ipairs(list) do
    local variant_id, e
    if v.id then
      variant_id, e = update_variant(tx, product_id, v, i)
    else
      variant_id, e = insert_variant(tx, product_id, v, i)
    end
    if not variant_id then return nil, e end
    kept[i] = variant_id
    if v.prices then
      local ok, e2 = write.set_prices(tx, variant_id, v.prices, source)
      if not ok then return nil, e2 end
    end
  end
  return archive_others(tx, product_id, kept)
end


local function parts(tx, product_id, fields, source)
  local ok, e = true, nil
  if fields.options then ok, e = options_of(tx, product_id, fields.options) end
  if ok and fields.category_ids then ok, e = categories_of(tx, product_id, fields.category_ids) end
  if ok and fields.variants then ok, e = variants_of(tx, product_id, fields.variants, source) end
  return ok, e
end


local function handle_taken(e, fields)
  if err.is(e, "duplicate") then
    return err.new("duplicate", ("there is a product with the handle %s, or with this external_ref")
      :format(tostring(fields.handle)), { public = true })
  end
  return e
end


function write.create(tx, fields, source)
  local product_id = id.new("prod")
  local ok, e = tx:exec("INSERT INTO products (id, handle, title, description, status, tax_class,"
    .. " tags, image, external_ref) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", db.bin("prod", product_id),
    fields.handle, fields.title, fields.description or "", fields.status or "draft",
    fields.tax_class or "standard", db.to_json(require("till.prim.json").array(fields.tags or {})),
    db.given(fields.image) or sql.null, db.given(fields.external_ref) or sql.null)
  if not ok then return nil, handle_taken(e, fields) end
  ok, e = parts(tx, product_id, fields, source)
  if not ok then return nil, e end
  return product_id
end


function write.update(tx, product_id, fields, source)
  local sets, args = { "version = version + 1" }, {}
  for _, name in ipairs(FIELDS) do
    if fields[name] ~= nil then
      local value = db.given(fields[name])
      sets[#sets + 1] = name .. " = ?"
      args[#args + 1] = value == nil and sql.null or value
    end
  end
  if fields.tags then
    sets[#sets + 1] = "tags = ?"
    args[#args + 1] = db.to_json(require("till.prim.json").array(fields.tags))
  end
  args[#args + 1] = db.bin("prod", product_id)
  local ok, e = tx:exec("UPDATE products SET " .. table.concat(sets, ", ") .. " WHERE id = ?",
    unpack(args))
  if not ok then return nil, handle_taken(e, fields) end
  return parts(tx, product_id, fields, source)
end


--- The product of a variant, locked; its version is raised. For PUT of prices.
function write.touch_of_variant(tx, variant_id)
  local row, e = tx:one("SELECT p.id, p.version FROM variants v JOIN products p"
    .. " ON p.id = v.product_id WHERE v.id = ? FOR UPDATE", db.bin("var", variant_id))
  if not row then return row, e end
  local ok, e2 = tx:exec("UPDATE products SET version = version + 1 WHERE id = ?",
    sql.bytes(row.id))
  if not ok then return nil, e2 end
  return { id = id.text("prod", row.id), version = row.version }
end


return write
