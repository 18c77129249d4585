--- A catalogue out of a file of transactions.
--
-- The file is read once; per stock code the spellings and prices are counted.
-- The name is the most frequent one that looks like a name, the price the most
-- frequent one, the stock what was sold in an average month. Codes that differ
-- in their letter and in a colour only become variants of one product. What is
-- in the shop already (by SKU) is left exactly as it is: staff may have
-- changed it since.
--
local catalogue = require "till.flow.import.catalogue"
local err = require "till.util.err"
local json = require "till.prim.json"
local search = require "till.flow.search"
local sql = require "till.prim.sql"
local store = require "till.store.import"
local ulid = require "till.prim.ulid"


local products = {}


local CURRENCY = "GBP" -- of the file
local MONTHS = 12      -- that it spans
local MIN_STOCK, MAX_STOCK = 20, 2000
local ATTEMPTS = 10
local BATCH = 500

local COLUMNS = {
  categories = { "id", "handle", "title", "position" },
  products = { "id", "handle", "title", "description", "status", "tags", "image", "external_ref" },
  product_categories = { "product_id", "category_id" },
  product_options = { "product_id", "position", "name" },
  variants = { "id", "product_id", "sku", "title", "options", "position", "external_ref",
    "weight_g" },
  prices = { "id", "variant_id", "currency", "amount" },
  price_history = { "variant_id", "currency", "amount", "at", "source" },
  stock = { "variant_id", "location_id", "on_hand" },
  stock_events = { "variant_id", "location_id", "type", "quantity", "on_hand_delta",
    "reserved_delta", "reference", "reason", "actor" },
}


local function note(item, record)
  local name = record.description:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  if catalogue.is_name(name) then
    item.names[name] = (item.names[name] or 0) + 1
  end
  if record.price > 0 then
    local price = item.prices[record.price]
    if not price then
      price = { amount = record.price, count = 0, first = record.date }
      item.prices[record.price] = price
    end
    price.count = price.count + 1
    item.sold = item.sold + math.max(0, record.quantity)
  end
  item.rows[#item.rows + 1] = record.line
end


local function skip_reason(record)
  if not catalogue.is_goods(record.code) then
    return "not goods (postage, fees, vouchers, notes)"
  elseif record.invoice:find("^%D") then
    return "a cancellation or an adjustment, not a sale"
  elseif record.quantity <= 0 then
    return "a stock correction, not a sale"
  end
end


-- Stock code → what the file says of it.
local function collect(src, report)
  local items = {}
  local ok, failure = src:read(report, function(record)
    local reason = skip_reason(record)
    if reason then
      report:skip(reason, record.line)
      return true
    end
    local item = items[record.code]
    if not item then
      item = { code = record.code, names = {}, prices = {}, sold = 0, rows = {} }
      items[record.code] = item
    end
    note(item, record)
    return true
  end)
  return ok and items, failure
end


local function most_frequent(counts)
  local best, best_count
  for name, count in pairs(counts) do
    if not best or count > best_count or count == best_count and name < best then
      best, best_count = name, count
    end
  end
  return best
end


local function usual_price(prices)
  local best
  for _, price in pairs(prices) do
    if not best or price.count > best.count or price.count == best.count and
      price.amount > best.amount
    then
      best = price
    end
  end
  return best and best.amount
end


-- The items that make a product each or together, sorted by code; the others go to the report.
local function sellable(items, report)
  local list = {}
  for _, item in pairs(items) do
    item.name, item.price = most_frequent(item.names), usual_price(item.prices)
    local reason = not item.name and "the code has no name anywhere" or
      not item.price and "the code has no price anywhere"
    if reason then
      for _, line in ipairs(item.rows) do
        report:skip(reason, line)
      end
    else
      list[#list + 1] = item
    end
  end
  table.sort(list, function(a, b) return a.code < b.code end)
  return list
end


-- Codes "84406B" and "84406C" whose names differ in one colour are variants of one product.
local function group(list)
  local groups, by_key = {}, {}
  for _, item in ipairs(list) do
    local rest, colour = catalogue.colour(item.name)
    local key = colour and item.code:match("^%d+") .. " " .. rest
    local found = key and by_key[key]
    if found and not found.colours[colour] then
      found.colours[colour] = true
      item.colour = colour
      found.items[#found.items + 1] = item
    elseif not found then
      item.colour = colour
      found = { items = { item }, colours = { [colour or ""] = true }, rest = rest }
      groups[#groups + 1] = found
      if key then
        by_key[key] = found
      end
    else
      groups[#groups + 1] = { items = { item }, colours = {} }
    end
  end
  return groups
end


local function add(rows, name, row)
  rows[name] = rows[name] or {}
  rows[name][#rows[name] + 1] = row
end


local function price_rows(rows, item, variant_id)
  local seen = {}
  for _, price in pairs(item.prices) do
    seen[#seen + 1] = price
  end
  table.sort(seen, function(a, b)
    return a.first < b.first or a.first == b.first and a.amount < b.amount
  end)
  add(rows, "prices", { sql.bytes(ulid.new()), variant_id, CURRENCY, item.price })
  for _, price in ipairs(seen) do
    add(rows, "price_history", { variant_id, CURRENCY, price.amount, price.first, "import" })
  end
end


local function variant_rows(rows, ctx, item, position, product_id, is_group)
  local id = sql.bytes(ulid.new())
  local options = is_group and json.encode({ Colour = item.colour }) or "{}"
  local stock = math.min(MAX_STOCK, math.max(MIN_STOCK, math.ceil(item.sold / MONTHS)))
  add(rows, "variants", { id, product_id, item.code, is_group and item.colour or "", options,
    position,
    item.code, 100 })
  price_rows(rows, item, id)
  add(rows, "stock", { id, ctx.location, stock })
  add(rows, "stock_events", { id, ctx.location, "received", stock, stock, 0, "import",
    "first stock", "import" })
end


local function product_rows(rows, ctx, one)
  local first = one.items[1]
  local is_group = #one.items > 1
  local name = is_group and one.rest or first.name
  local category = catalogue.category(name)
  local id = sql.bytes(ulid.new())
  add(rows, "products", { id, catalogue.handle(name, first.code), catalogue.title(name), "",
    "active", json.encode(json.array({ category.handle })),
    "/static/pictures/" .. category.handle .. ".svg", first.code })
  add(rows, "product_categories", { id, ctx.categories[category.handle] })
  if is_group then
    add(rows, "product_options", { id, 1, "Colour" })
  end
  for position, item in ipairs(one.items) do
    variant_rows(rows, ctx, item, position, id, is_group)
  end
end


local ORDER = { "products", "product_categories", "product_options", "variants", "prices",
  "price_history", "stock", "stock_events" }


local function write(ctx, groups, from, to)
  local rows = {}
  for i = from, to do
    product_rows(rows, ctx, groups[i])
  end
  return store.transaction(function(tx)
    for _, name in ipairs(ORDER) do
      local ok, failure = store.insert(tx, name, COLUMNS[name], rows[name] or {})
      if not ok then
        return nil, failure
      end
    end
    return true
  end)
end


local function ensure_categories()
  local handles, list = {}, catalogue.categories()
  for i, category in ipairs(list) do
    handles[i] = category.handle
  end
  local there, failure = store.existing("categories", "handle", handles)
  if not there then
    return nil, failure
  end
  local rows, ids = {}, {}
  for _, category in ipairs(list) do
    local id = there[category.handle] or ulid.new()
    ids[category.handle] = sql.bytes(id)
    if not there[category.handle] then
      rows[#rows + 1] = { sql.bytes(id), category.handle, category.title, category.position }
    end
  end
  local ok
  ok, failure = store.transaction(function(tx)
    return store.insert(tx, "categories", COLUMNS.categories, rows)
  end)
  return ok and ids, failure
end


-- Leaves only what the shop does not have; a group with a known member keeps its new ones apart.
local function only_new(list)
  local known, failure = store.variants()
  if not known then
    return nil, failure
  end
  local fresh = {}
  for _, item in ipairs(list) do
    if not known[item.code] then
      fresh[#fresh + 1] = item
    end
  end
  return fresh
end


local function context()
  local location, failure = store.main_location()
  if not location then
    return nil, failure
  end
  local categories
  categories, failure = ensure_categories()
  return categories and { location = sql.bytes(location), categories = categories }, failure
end


local function count_added(report, groups, from, to)
  report:count("products added", to - from + 1)
  for i = from, to do
    report:count("variants added", #groups[i].items)
  end
end


local function add_missing(list, report, progress)
  local fresh, failure = only_new(list)
  if not fresh or #fresh == 0 then
    return fresh and true, failure
  end
  local ctx
  ctx, failure = context()
  if not ctx then
    return nil, failure
  end
  local groups = group(fresh)
  for from = 1, #groups, BATCH do
    local to = math.min(from + BATCH - 1, #groups)
    local ok
    ok, failure = write(ctx, groups, from, to)
    if not ok then
      return nil, failure
    end
    count_added(report, groups, from, to)
    if progress then
      progress(to / #groups)
    end
  end
  return true
end


--- Reads the transactions of `src` and adds what is not in the shop yet. Another import of the same
-- file may be first: then it is asked again what is there. What an import that was killed left
-- out of the search is found by the next.
-- @param progress  function(share) or nil, called while rows are written
-- @return true, or nil and an error; the report says what was done
function products.run(src, report, progress)
  local items, failure = collect(src, report)
  if not items then
    return nil, failure
  end
  local list, ok = sellable(items, report), nil
  for _ = 1, ATTEMPTS do
    ok, failure = add_missing(list, report, progress)
    if ok or not err.is(failure, "duplicate") then
      break
    end
  end
  if not ok then
    return nil, failure
  end
  report:count("products already there", #list - (report.counts["variants added"] or 0))
  return search.index_missing()
end


return products
