--- The history of orders out of a file of transactions.
--
-- Lines with one invoice number make an order, dated as the invoice, paid and
-- fulfilled. Postage becomes its shipping; goods that the shop does not know
-- keep their name and code. Invoices are found again by their number, so a
-- second import adds nothing. Memory stays bounded: BATCH invoices at a time,
-- one batch being written while the next is read.
--
local catalogue = require "till.flow.import.catalogue"
local co = require "till.prim.co"
local countries = require "till.flow.import.countries"
local err = require "till.util.err"
local json = require "till.prim.json"
local search = require "till.store.search"
local sql = require "till.prim.sql"
local store = require "till.store.import"
local ulid = require "till.prim.ulid"


local orders = {}


local BATCH = 400
local ATTEMPTS = 10
local SHIPPING = { POST = true, DOT = true, C2 = true }
local SOLD_BY_HAND = { M = true }

local COLUMNS = {
  customers = { "id", "email", "external_ref" },
  orders = { "id", "external_ref", "customer_id", "status", "payment_status", "fulfilment_status",
    "email", "currency", "subtotal", "discount_total", "shipping_total", "tax_total", "total",
    "shipping_address", "promotions", "placed_at" },
  order_lines = { "id", "order_id", "position", "variant_id", "sku", "title", "quantity",
    "fulfilled_quantity", "unit_price", "subtotal", "discount_total", "tax_total", "total" },
}


local function skip_reason(record)
  if record.invoice:find("^[Cc]") then
    return "a cancellation (its return is not imported)"
  elseif record.invoice:find("^%D") then
    return "an adjustment of the books (bad debt)"
  elseif record.quantity <= 0 then
    return "a stock correction, not a sale"
  elseif record.price <= 0 then
    return "given away or written off (no price)"
  elseif not (catalogue.is_goods(record.code) or SHIPPING[record.code] or SOLD_BY_HAND[record.code]
      or record.code:find("^GIFT_")) then
    return "not goods (fees, discounts, notes)"
  end
end


-- The invoice that a record belongs to, a new one if it is the first of it.
local function invoice_of(batch, record)
  local invoice = batch.by_number[record.invoice]
  if not invoice then
    invoice = { number = record.invoice, date = record.date, customer = record.customer,
      country = record.country, lines = {}, shipping = 0, first_line = record.line }
    batch.by_number[record.invoice] = invoice
    batch.list[#batch.list + 1] = invoice
  end
  return invoice
end


local function add_record(batch, record)
  local invoice = invoice_of(batch, record)
  local amount = record.price * record.quantity
  if SHIPPING[record.code] then
    invoice.shipping = invoice.shipping + amount
  else
    local lines = invoice.lines
    lines[#lines + 1] = { code = record.code, title = record.description,
      quantity = record.quantity,
      price = record.price, amount = amount }
  end
end


local function new_batch()
  return { list = {}, by_number = {} }
end


-- Customers of the invoices by their number: 16 bytes each; -> rows of those to be made.
local function ensure_customers(ctx, invoices)
  local wanted, rows = {}, {}
  for _, invoice in ipairs(invoices) do
    local number = invoice.customer
    if number ~= "" and ctx.customers[number] == nil then
      ctx.customers[number] = false
      wanted[#wanted + 1] = number
    end
  end
  local there, failure = store.existing("customers", "external_ref", wanted)
  if not there then
    return nil, failure
  end
  for _, number in ipairs(wanted) do
    local id = there[number] or ulid.new()
    ctx.customers[number] = sql.bytes(id)
    if not there[number] then
      -- RFC 2606: .invalid can never be a mailbox.
      rows[#rows + 1] = { sql.bytes(id), "customer-" .. number:lower() .. "@import.invalid",
        number }
    end
  end
  return rows
end


local function order_row(ctx, invoice, id)
  local subtotal = 0
  for _, line in ipairs(invoice.lines) do
    subtotal = subtotal + line.amount
  end
  local country = countries[invoice.country]
  local customer = invoice.customer
  return { id, invoice.number, customer ~= "" and ctx.customers[customer] or sql.null, "completed",
    "captured", "fulfilled",
    customer ~= "" and "customer-" .. customer:lower() .. "@import.invalid" or
      "guest@import.invalid",
    "GBP", subtotal, 0, invoice.shipping, 0, subtotal + invoice.shipping,
    country and json.encode({ country = country }) or sql.null, "[]", invoice.date }
end


local function line_rows(ctx, rows, invoice, id)
  for position, line in ipairs(invoice.lines) do
    rows[#rows + 1] = { sql.bytes(ulid.new()), id, position, ctx.variants[line.code] or sql.null,
      line.code, line.title ~= "" and line.title or line.code, line.quantity, line.quantity,
      line.price, line.amount, 0, 0, line.amount }
  end
end


-- The invoices of the batch that the shop has not got yet, and how many it has.
local function only_new(batch)
  local numbers = {}
  for i, invoice in ipairs(batch.list) do
    numbers[i] = invoice.number
  end
  local there, failure = store.existing("orders", "external_ref", numbers)
  if not there then
    return nil, failure
  end
  local fresh, known = {}, 0
  for _, invoice in ipairs(batch.list) do
    if there[invoice.number] then
      known = known + 1
    elseif #invoice.lines > 0 or invoice.shipping > 0 then
      fresh[#fresh + 1] = invoice
    end
  end
  return fresh, known
end


local function insert(customers, order_rows, lines)
  return store.transaction(function(tx)
    local ok, why = store.insert(tx, "customers", COLUMNS.customers, customers)
    if ok then
      ok, why = store.insert(tx, "orders", COLUMNS.orders, order_rows)
    end
    if ok then
      ok, why = store.insert(tx, "order_lines", COLUMNS.order_lines, lines)
    end
    return ok, why
  end)
end


local function write_once(ctx, batch)
  local fresh, known = only_new(batch)
  if not fresh then
    return nil, known
  end
  local customers, failure = ensure_customers(ctx, fresh)
  if not customers then
    return nil, failure
  end
  local order_rows, lines = {}, {}
  for i, invoice in ipairs(fresh) do
    local id = sql.bytes(ulid.new())
    order_rows[i] = order_row(ctx, invoice, id)
    line_rows(ctx, lines, invoice, id)
  end
  local ok
  ok, failure = insert(customers, order_rows, lines)
  if not ok then
    for _, row in ipairs(customers) do
      ctx.customers[row[3]] = nil
    end
    return nil, failure
  end
  ctx.report:count("orders already there", known)
  ctx.report:count("orders added", #order_rows)
  ctx.report:count("order lines added", #lines)
  ctx.report:count("customers added", #customers)
  return true
end


-- Another import of the same file may be first: then it is asked again what is there.
local function write(ctx, batch)
  local ok, failure
  for _ = 1, ATTEMPTS do
    ok, failure = write_once(ctx, batch)
    if ok or not err.is(failure, "duplicate") then
      break
    end
  end
  return ok, failure
end


-- Waits for the batch that is being written, if there is one.
local function settle(ctx)
  local writing = ctx.writing
  ctx.writing = nil
  if not writing then
    return true
  end
  local result, failure = writing:wait(300000)
  if not result then
    return nil, failure
  end
  return result.ok, result.failure
end


-- Writes beside the reading; one batch at a time, so that its rows stay in order.
local function write_aside(ctx, batch)
  local ok, failure = settle(ctx)
  if not ok then
    return nil, failure
  end
  local waiter = co.waiter()
  ctx.writing = waiter
  co.spawn(function()
    local done, result, why = pcall(write, ctx, batch)
    if done then
      waiter:signal({ ok = result, failure = why })
    else
      waiter:signal({ failure = err.new("internal", tostring(result)) })
    end
  end)
  return true
end


local function take(ctx, record)
  local reason = skip_reason(record)
  if reason then
    ctx.report:skip(reason, record.line)
    return true
  end
  local batch = ctx.batch
  -- A line of an invoice that was written with an earlier batch: the file is torn there.
  if ctx.closed[record.invoice] then
    ctx.report:skip("its invoice stood complete further up", record.line)
    return true
  end
  if #batch.list >= BATCH and not batch.by_number[record.invoice] then
    for _, invoice in ipairs(batch.list) do
      ctx.closed[invoice.number] = true
    end
    ctx.batch = new_batch()
    local ok, failure = write_aside(ctx, batch)
    if not ok then
      return nil, failure
    end
  end
  add_record(ctx.batch, record)
  return true
end


--- Reads the transactions of `src` and adds the orders that are not in the shop yet.
-- @return true, or nil and an error; the report says what was done
function orders.run(src, report)
  local variants, failure = store.variants()
  if not variants then
    return nil, failure
  end
  for sku, id in pairs(variants) do
    variants[sku] = sql.bytes(id)
  end
  local ctx = { report = report, batch = new_batch(), closed = {}, customers = {},
    variants = variants }
  local ok
  ok, failure = src:read(report, function(record) return take(ctx, record) end)
  if ok then
    ok, failure = write_aside(ctx, ctx.batch)
  end
  local settled, why = settle(ctx)
  if not ok then
    return nil, failure
  end
  if not settled then
    return nil, why
  end
  return store.transaction(search.count_bought)
end


return orders
