local t = require "till.test"
local live = require "tests.support.live"
local folder = require "tests.support.folder"

local HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
local SOLD = HEAD .. [[
536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01T08:26:00Z,2.55,17850,United Kingdom
536365,71053,WHITE METAL LANTERN,6,2010-12-01T08:26:00Z,3.39,17850,United Kingdom
536365,POST,POSTAGE,1,2010-12-01T08:26:00Z,18.00,17850,United Kingdom
536366,22633,HAND WARMER UNION JACK,600,2010-12-01T08:28:00Z,1.85,,France
536367,22633,"HAND WARMER, UNION JACK",1,2011-02-01T08:28:00Z,1.85,13047,Nowhere
C536379,85123A,WHITE HANGING HEART T-LIGHT HOLDER,-1,2010-12-02T09:00:00Z,2.55,17850,United Kingdom
536380,84970S,PINK CUPID HANGER,2,2010-12-02T09:00:00Z,0.85,13047,EIRE
536380,84970L,BLUE CUPID HANGER,2,2010-12-02T09:00:00Z,0.95,13047,EIRE
536381,22999,damaged,1,2010-12-02T09:00:00Z,0,13047,EIRE
]]
local BAD = SOLD .. [[
536390,85123A,WHITE HANGING HEART T-LIGHT HOLDER,six,2010-12-01T08:26:00Z,2.55,17850,EIRE
536390,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,1.12.2010,2.55,17850,EIRE
536390,85123A,short
536390,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01T08:26:00Z,2.5.5,17850,EIRE
]]

local ROW = "536391,%s,%s,%s,%s,%s,%s,EIRE\n"
local EXCESS = SOLD .. ROW:format("90001", "LONG", 1, "2011-02-31T08:26:00Z", "1.00", "1")
  .. ROW:format("90002", "LATE", 1, "2011-02-01T27:26:00Z", "1.00", "1")
  .. ROW:format("90003", ("LONG NAME "):rep(60), 1, "2011-02-01T08:26:00Z", "1.00", "1")
  .. ROW:format("90004", "WHOSE", 1, "2011-02-01T08:26:00Z", "1.00", ("9"):rep(300))
  .. ROW:format("90005", "DEAR", 999999999, "2011-02-01T08:26:00Z", "99999999999.00", "1")
  .. ROW:format("90006", ("GRÜNE TASSE "):rep(21), 1, "2011-02-01T08:26:00Z", "1.00", "1")


-- @return true | nil, the failure; and the report
local function import(shop, kind, text, name)
  local report = shop.require("till.flow.import.report").new()
  local src, failure = shop.require("till.flow.import.source").open(
    folder.write(name or "import.csv", text))
  if not src then return nil, failure, report end
  local ok, why = shop.require("till.flow.import." .. kind).run(src, report)
  return ok, why, report
end


local function count(shop, table_name)
  return shop.sql.one("SELECT COUNT(*) AS n FROM " .. table_name).n
end


local function left_out(report)
  local out = {}
  for _, entry in ipairs(report:table().left_out) do out[entry.reason] = entry.rows end
  return out
end


t.describe("importing products", function()
  t.it("makes products that are sold, priced, in stock and found", live.test(function(shop)
    local ok, failure, report = import(shop, "products", SOLD)
    t.ok(ok, tostring(failure))
    t.equal(report.counts["products added"], 4)
    t.equal(report.counts["variants added"], 5)
    local _, body = shop.store("GET", "/store/v1/search?q=hanging+heart")
    t.same({ #body.data, body.data[1].title }, { 1, "White Hanging Heart T-Light Holder" })
    local _, one = shop.store("GET", "/store/v1/products/" .. body.data[1].id)
    t.equal(one.product.variants[1].sku, "85123A")
    t.equal(one.product.variants[1].price.amount, 255)
    local _, stock = shop.admin("GET", "/admin/v1/inventory/22633")
    t.equal(stock.inventory.on_hand, 51, "a twelfth of what was sold in a year, rounded up")
  end))

  t.it("makes colours variants of one product", live.test(function(shop)
    import(shop, "products", SOLD)
    local _, body = shop.store("GET", "/store/v1/search?q=cupid")
    t.equal(#body.data, 1)
    local product = select(2, shop.store("GET", "/store/v1/products/" .. body.data[1].id)).product
    local colours = {}
    for i, variant in ipairs(product.variants) do colours[i] = variant.options.Colour end
    table.sort(colours)
    t.same(colours, { "Blue", "Pink" })
  end))

  t.it("says what it left out and where", live.test(function(shop)
    local _, _, report = import(shop, "products", SOLD)
    local why = left_out(report)
    t.same(why["not goods (postage, fees, vouchers, notes)"], { 4 })
    t.same(why["a cancellation or an adjustment, not a sale"], { 7 })
    t.same(why["the code has no name anywhere"], { 10 })
    t.equal(report.bad_rows, 0)
  end))

  t.it("changes nothing the second time", live.test(function(shop)
    import(shop, "products", SOLD)
    shop.sql.exec("UPDATE products SET title = 'Changed by staff'")
    local ok, _, report = import(shop, "products", SOLD)
    t.ok(ok)
    t.equal(report.counts["products added"], nil)
    t.equal(report.counts["products already there"], 5)
    t.same({ count(shop, "products"), count(shop, "variants") }, { 4, 5 })
    t.equal(shop.sql.one("SELECT COUNT(*) AS n FROM products WHERE title <> 'Changed by staff'").n,
      0)
  end))

  t.it("tells of rows that it cannot read, and takes the others", live.test(function(shop)
    local ok, _, report = import(shop, "products", BAD)
    t.ok(ok)
    t.same({ report.bad_rows, report.rows }, { 4, 13 })
    local why = left_out(report)
    t.same(why["the quantity is no whole number"], { 11 })
    t.same(why["the date is not like 2010-12-01T08:26:00Z"], { 12 })
    t.same(why["another number of fields than the first row"], { 13 })
    t.same(why["the price is no amount"], { 14 })
    t.equal(count(shop, "products"), 4)
  end))

  t.it("leaves out what no table holds, and takes what comes after it", live.test(function(shop)
    for _, kind in ipairs { "products", "orders" } do
      local ok, failure, report = import(shop, kind, EXCESS)
      t.ok(ok, tostring(failure))
      local why = left_out(report)
      t.same(why["the date is not like 2010-12-01T08:26:00Z"], { 11, 12 })
      t.same(why["the description is longer than 255 characters"], { 13 })
      t.same(why["the customer is longer than 64 characters"], { 14 })
      t.same(why["quantity times price is too large"], { 15 })
    end
    t.equal(count(shop, "products"), 5)
    t.equal(shop.sql.one("SELECT COUNT(*) AS n FROM orders WHERE external_ref LIKE '%536391'").n, 1)
  end))
end)


t.describe("importing orders", function()
  t.it("makes orders with their lines, customers and shipping", live.test(function(shop)
    import(shop, "products", SOLD)
    local ok, failure, report = import(shop, "orders", SOLD)
    t.ok(ok, tostring(failure))
    t.same({ report.counts["orders added"], report.counts["order lines added"],
      report.counts["customers added"] }, { 4, 6, 2 })
    local order = shop.sql.one("SELECT subtotal, shipping_total, total, placed_at, status,"
      .. " shipping_address FROM orders WHERE external_ref = '536365'")
    t.same({ order.subtotal, order.shipping_total, order.total }, { 3564, 1800, 5364 })
    t.same({ order.placed_at:sub(1, 19), order.status }, { "2010-12-01T08:26:00", "completed" })
    t.ok(order.shipping_address:find("GB", 1, true))
    t.equal(shop.sql.one("SELECT customer_id FROM orders WHERE external_ref = '536366'")
      .customer_id, nil)
    t.equal(shop.sql.one("SELECT COUNT(*) AS n FROM orders o JOIN customers c"
      .. " ON c.id = o.customer_id WHERE c.external_ref = '13047'").n, 2)
    t.equal(shop.sql.one("SELECT COUNT(*) AS n FROM order_lines WHERE variant_id IS NULL").n, 0)
  end))

  t.it("has lines that add up to each order", live.test(function(shop)
    import(shop, "orders", SOLD)
    t.same(shop.sql.query("SELECT o.external_ref FROM orders o JOIN order_lines l"
      .. " ON l.order_id = o.id GROUP BY o.id"
      .. " HAVING SUM(l.total) + MAX(o.shipping_total) <> MAX(o.total)"), {})
    t.equal(shop.sql.one("SELECT COUNT(*) AS n FROM order_lines WHERE variant_id IS NULL").n, 6,
      "goods that the shop does not know keep their name")
  end))

  t.it("changes nothing the second time", live.test(function(shop)
    import(shop, "orders", SOLD)
    local _, _, report = import(shop, "orders", SOLD)
    t.equal(report.counts["orders already there"], 4)
    t.same({ count(shop, "orders"), count(shop, "customers") }, { 4, 2 })
  end))

  t.it("writes more invoices than it holds at a time, each once", live.test(function(shop)
    local rows = { HEAD }
    for i = 1, 850 do
      rows[#rows + 1] = ("%d,22633,HAND WARMER,1,2010-12-01T08:26:00Z,1.00,%d,EIRE\n"):format(
        600000 + i, 100 + i % 7)
    end
    rows[#rows + 1] = "600001,22633,HAND WARMER,1,2010-12-01T08:26:00Z,1.00,101,EIRE\n"
    local ok, failure, report = import(shop, "orders", table.concat(rows))
    t.ok(ok, tostring(failure))
    t.same({ count(shop, "orders"), count(shop, "order_lines"), count(shop, "customers") },
      { 850, 850, 7 })
    t.same(left_out(report)["its invoice stood complete further up"], { 852 })
  end))
end)


t.describe("a file to import", function()
  t.table({
    { why = "is not empty", text = "", message = "it is empty" },
    { why = "has its columns", text = "InvoiceNo,StockCode\n1,2\n",
      message = "the column Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country is"
        .. " missing" },
    { why = "is CSV", text = '"a"b,c\n', message = "it is no CSV file" },
  }, function(case)
    live.with(function(shop)
      local ok, failure = import(shop, "orders", case.text)
      t.equal(ok, nil)
      t.equal(failure.code, "invalid_request")
      t.ok(failure.message:find(case.message, 1, true), failure.message)
    end)
  end)

  t.it("that ends too early fails the import", live.test(function(shop)
    local packed = require("tests.support.packed")
    for _, kind in ipairs { "orders", "products" } do
      local ok, failure = import(shop, kind, packed.torn, "torn.csv.xz")
      t.equal(ok, nil, kind)
      t.equal(failure.code, "invalid_request")
    end
    local path = folder.write("torn.csv.xz", packed.torn)
    local function open() return shop.require("till.flow.import.source").open(path) end
    local report = shop.require("till.flow.import.report").new()
    local run = shop.require("till.flow.import.run").run
    t.equal(run("products", open, "reject-all", report), nil)
  end))
end)


-- As if another import had written the same just after this one looked.
local function looks_too_early(shop, name)
  local store = shop.require "till.store.import"
  local was, calls = store[name], 0
  store[name] = function(...)
    store[name], calls = was, calls + 1
    return {}
  end
  return function() return calls end
end


t.describe("two imports at once", function()
  t.it("add products and orders once", live.test(function(shop)
    local looks = { products = "variants", orders = "existing" }
    for _, kind in ipairs { "products", "orders" } do
      assert(import(shop, kind, SOLD))
      local before = { count(shop, "variants"), count(shop, "orders"), count(shop, "customers") }
      local called = looks_too_early(shop, looks[kind])
      local ok, failure, report = import(shop, kind, SOLD)
      t.ok(ok, tostring(failure))
      t.equal(called(), 1)
      t.equal(report.counts[kind .. " added"] or 0, 0)
      t.ok(report.counts[kind .. " already there"] > 0)
      t.same({ count(shop, "variants"), count(shop, "orders"), count(shop, "customers") }, before)
    end
  end))

  t.it("find what a killed one left out of the search", live.test(function(shop)
    assert(import(shop, "products", SOLD))
    shop.sql.exec("DELETE FROM search_documents")
    assert(import(shop, "products", SOLD))
    local _, body = shop.store("GET", "/store/v1/search?q=hanging+heart")
    t.equal(#body.data, 1)
  end))
end)
