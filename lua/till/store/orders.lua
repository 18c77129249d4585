-- till/store/orders - what was sold, frozen.
--
--   insert(tx, order) -> order with its number     lines, trace and all, as till.flow.place made it
--   place(script, order)         insert, and its event. The number is known once the script has
--                                run, as `number` of its row: UNNUMBERED until then
--   get(id [, tx [, is_counted]]), of_cart(cart_id [, tx])   with lines and fulfilments; counted:
--                                payments_count, of its own; is_asked, is one asked for?
--   list{ status=, email=, number=, placed_after=, placed_before=, customer_id=, limit, … }
--   lock(tx, id) -> order | false                  with its lines; the row is ours until the end
--   lock_all(tx, ids) -> { id -> order }           several, with no more of them than
--                                                  till.flow.order_states asks for
--   set(tx, id, fields)                            status fields; raises the version
--   event(tx, id, type, actor, data), events(order, opts)   the timeline
--   count_cancelled(tx, line_id, n), count_returned(tx, line_id, n)
--   frozen_ids(tx, id), trace(id [, tx])
--   ledger(tx, order_id, payment_id, currency, entries)    till.store.ledger's post
local db = require "till.store.db"
local fulfilments = require "till.store.fulfilments"
local id = require "till.util.id"
local json = require "till.prim.json"
local ledger = require "till.store.ledger"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local orders = {}

local COLUMNS = "id, number, cart_id, external_ref, customer_id, key_id, status, payment_status,"
  .. " fulfilment_status, return_status, email, currency, subtotal, discount_total,"
  .. " shipping_total, tax_total, total, shipping_address, billing_address, shipping_option_id,"
  .. " shipping_label, promotions, generation, version, placed_at, updated_at, paid_at"


local function to_order(row)
  return {
    id = id.text("ord", row.id), number = row.number, cart_id = db.text("cart", row.cart_id),
    external_ref = row.external_ref, customer_id = db.text("cus", row.customer_id),
    key_id = db.text("key", row.key_id), status = row.status,
    payment_status = row.payment_status, fulfilment_status = row.fulfilment_status,
    return_status = row.return_status, email = row.email, currency = row.currency,
    subtotal = row.subtotal, discount_total = row.discount_total,
    shipping_total = row.shipping_total, tax_total = row.tax_total, total = row.total,
    shipping_address = db.json(row.shipping_address),
    billing_address = db.json(row.billing_address), shipping_option_id = row.shipping_option_id,
    shipping_label = row.shipping_label, promotions = db.json(row.promotions) or {},
    generation = row.generation, version = row.version, placed_at = row.placed_at,
    updated_at = row.updated_at, paid_at = row.paid_at, lines = {}, fulfilments = {},
    payments_count = row.payments_count, is_asked = row.is_asked == 1 }
end


-- Order and lines in one round trip: a second one costs more than the columns of the order once
-- more with each line.
local WHOLE = "SELECT " .. COLUMNS:gsub("(%l[%l_]*)", "o.%1") .. ", l.id AS l_id, l.position,"
  .. " l.variant_id, l.sku, l.title, l.quantity, l.fulfilled_quantity, l.backordered_quantity,"
  .. " l.cancelled_quantity, l.returned_quantity, l.unit_price,"
  .. " l.subtotal AS l_subtotal, l.discount_total AS l_discount_total,"
  .. " l.tax_total AS l_tax_total, l.total AS l_total"
  .. " FROM orders o LEFT JOIN order_lines l ON l.order_id = o.id WHERE o."
local COUNTED = WHOLE:gsub(" FROM o", ", (SELECT COUNT(*) FROM payments FORCE INDEX"
  .. " (payments_order) WHERE order_id = o.id) AS payments_count,"
  .. " EXISTS (SELECT 1 FROM payment_requests WHERE order_id = o.id) AS is_asked%0")


local function comes_before(a, b)
  return a.position < b.position
end


local function to_line(row)
  return { id = id.text("line", row.l_id), variant_id = db.text("var", row.variant_id),
    sku = row.sku, title = row.title, quantity = row.quantity,
    fulfilled_quantity = row.fulfilled_quantity,
    backordered_quantity = row.backordered_quantity, cancelled_quantity = row.cancelled_quantity,
    returned_quantity = row.returned_quantity, unit_price = row.unit_price,
    subtotal = row.l_subtotal, discount_total = row.l_discount_total,
    tax_total = row.l_tax_total, total = row.l_total }
end


local function read(conn, where, value, text)
  local rows, e = conn:query((text or WHOLE) .. where, value)
  if not rows then return nil, e end
  if #rows == 0 then return false end
  local order = to_order(rows[1])
  if rows[1].l_id then
    table.sort(rows, comes_before)
    for i, row in ipairs(rows) do order.lines[i] = to_line(row) end
  end
  if order.version == 1 then return order end -- nothing has happened to it
  local list, e2 = fulfilments.of_order(conn, sql.bytes(rows[1].id))
  if not list then return nil, e2 end
  order.fulfilments = list
  return order
end


function orders.get(order_id, tx, is_counted)
  return read(db.on(tx), "id = ?", db.bin("ord", order_id), is_counted and COUNTED)
end


function orders.of_cart(cart_id, tx)
  return read(db.on(tx), "cart_id = ?", db.bin("cart", cart_id))
end


-- Read when the row is locked: a statement that waits for it sees the lines as they were before.
function orders.lock(tx, order_id)
  local bin = db.bin("ord", order_id)
  local row, e = tx:one("SELECT id FROM orders WHERE id = ? FOR UPDATE", bin)
  if not row then return row, e end
  return read(tx, "id = ?", bin)
end


local BARE = "SELECT o.id, o.status, o.payment_status, o.fulfilment_status, o.return_status,"
  .. " o.version, l.id AS l_id, l.quantity, l.fulfilled_quantity, l.backordered_quantity,"
  .. " l.cancelled_quantity, l.returned_quantity FROM orders o FORCE INDEX (PRIMARY)"
  .. " LEFT JOIN order_lines l ON l.order_id = o.id WHERE o.id IN (%s) ORDER BY o.id, l.position"


local function bare_orders(rows)
  local out, moved, last = {}, {}, nil
  for _, row in ipairs(rows) do
    if not last or last.bin ~= row.id then
      last = { bin = row.id, order = { id = id.text("ord", row.id), status = row.status,
        payment_status = row.payment_status, fulfilment_status = row.fulfilment_status,
        return_status = row.return_status, version = row.version, lines = {},
        fulfilments = {} } }
      out[last.order.id] = last.order
      if row.version > 1 then moved[#moved + 1] = last.order.id end
    end
    if row.l_id then last.order.lines[#last.order.lines + 1] = to_line(row) end
  end
  return out, moved
end


function orders.lock_all(tx, order_ids)
  local bins = db.bins("ord", order_ids)
  local marks = sql.marks(#bins)
  local held, e = tx:query("SELECT id FROM orders FORCE INDEX (PRIMARY) WHERE id IN (" .. marks
    .. ") ORDER BY id FOR UPDATE", unpack(bins))
  local rows = held
  if held then rows, e = tx:query(BARE:format(marks), unpack(bins)) end
  if not rows then return nil, e end
  local out, moved = bare_orders(rows)
  if not moved[1] then return out end
  local parcels, e2 = fulfilments.of_orders(tx, moved)
  if not parcels then return nil, e2 end
  for order_id, list in pairs(parcels) do out[order_id].fulfilments = list end
  return out
end


local LINE_COLUMNS, LINES_AT_ONCE = 13, 100 -- a statement has few thousand parameters at most
local LINE_MARKS = "(" .. sql.marks(LINE_COLUMNS) .. ")"
local LINE_INSERT = "INSERT INTO order_lines (id, order_id, position, variant_id, sku, title,"
  .. " quantity, unit_price, subtotal, discount_total, tax_total, total, trace) VALUES "
  .. LINE_MARKS


local function is_backordered(order)
  for _, l in ipairs(order.lines) do
    if (l.backordered_quantity or 0) > 0 then return true end
  end
  return false
end


local function insert_lines(tx, order)
  local list, args, bin = order.lines, {}, db.bin("ord", order.id)
  local insert = is_backordered(order) and tx.exec or tx.insert or tx.exec -- those are looked at
  for i, l in ipairs(list) do
    local row = { db.bin("line", l.id), bin, i, db.bin("var", l.variant_id), l.sku, l.title,
      l.quantity, l.unit_price, l.subtotal, l.discount_total, l.tax_total, l.total,
      db.to_json(l.trace) }
    for at = 1, LINE_COLUMNS do args[(i - 1) * LINE_COLUMNS + at] = row[at] end
    if i % LINES_AT_ONCE == 0 or i == #list then
      local count = (i - 1) % LINES_AT_ONCE + 1
      local ok, e = insert(tx, LINE_INSERT .. (", " .. LINE_MARKS):rep(count - 1),
        unpack(args, (i - count) * LINE_COLUMNS + 1, i * LINE_COLUMNS))
      if not ok then return nil, e end
    end
  end
  return true
end


-- So few lines are: the others do without the column.
local function note_backordered(tx, order)
  for _, l in ipairs(order.lines) do
    if (l.backordered_quantity or 0) > 0 then
      local ok, e = tx:exec("UPDATE order_lines SET backordered_quantity = ? WHERE id = ?",
        l.backordered_quantity, db.bin("line", l.id))
      if not ok then return nil, e end
    end
  end
  return true
end


local function or_null(v)
  if v == nil then return sql.null end
  return v
end


function orders.insert(tx, o)
  local done, e = tx:exec("INSERT INTO orders (id, cart_id, external_ref, customer_id, key_id,"
    .. " status, payment_status, email, currency, subtotal, discount_total, shipping_total,"
    .. " tax_total, total, shipping_address, billing_address, shipping_option_id, shipping_label,"
    .. " promotions, price_trace, generation, placed_at, updated_at, paid_at)"
    .. " VALUES (" .. sql.marks(24) .. ")", db.bin("ord", o.id), db.bin("cart", o.cart_id),
    or_null(o.external_ref), db.bin("cus", o.customer_id), db.bin("key", o.key_id),
    o.status or "placed", o.payment_status or "awaiting", o.email, o.currency, o.subtotal,
    o.discount_total, o.shipping_total, o.tax_total, o.total, db.to_json(o.shipping_address),
    db.to_json(o.billing_address), or_null(o.shipping_option_id), or_null(o.shipping_label),
    db.to_json(json.array(o.promotions or {})), db.to_json(o.price_trace), or_null(o.generation),
    db.at(o.placed_at), db.at(o.placed_at), db.at(o.paid_at))
  if not done then return nil, e end
  o.number = done.insert_id or o.number
  local ok, e2 = insert_lines(tx, o)
  if not ok then return nil, e2 end
  return note_backordered(tx, o)
end


orders.UNNUMBERED = 2 ^ 53 - 1
orders.NUMBER = "@till_number"


function orders.place(script, o)
  orders.insert(script, o)
  script:exec("SET " .. orders.NUMBER .. " = LAST_INSERT_ID()")
  script:give(orders.NUMBER .. " AS number")
  script:insert("INSERT INTO order_events (order_id, type, actor, data, at) VALUES (?, 'placed', ?,"
    .. " JSON_OBJECT('number', " .. orders.NUMBER .. ", 'payment_status', ?), ?)",
    db.bin("ord", o.id), o.customer_id or "shopper", o.payment_status, db.now())
end


function orders.trace(order_id, tx)
  local row, e = db.on(tx):one("SELECT price_trace FROM orders WHERE id = ?",
    db.bin("ord", order_id))
  if not row then return row, e end
  return db.json(row.price_trace) or {}
end


local FILTERS = {
  { "status", "status = ?" }, { "payment_status", "payment_status = ?" },
  { "fulfilment_status", "fulfilment_status = ?" }, { "return_status", "return_status = ?" },
  { "email", "email = ?", function(v) return v:lower() end }, { "number", "number = ?" },
  { "placed_after", "placed_at >= ?", db.at }, { "placed_before", "placed_at < ?", db.at },
  { "customer_id", "customer_id = ?", function(v) return db.bin("cus", v) end },
}


--- Without their lines: a list shows heads.
function orders.list(opts)
  local where, args = {}, {}
  for _, f in ipairs(FILTERS) do
    local v = opts[f[1]]
    if v ~= nil then
      where[#where + 1], args[#args + 1] = f[2], f[3] and f[3](v) or v
    end
  end
  local rows, e = page.rows { select = COLUMNS, from = "orders", where = where, args = args,
    key = "placed_at", key_param = db.at, id = "id", prefix = "ord", opts = opts,
    newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do
    rows[i] = to_order(row)
    rows[i].lines, rows[i].fulfilments = nil, nil
  end
  return rows
end


local SETTABLE = { status = true, payment_status = true, fulfilment_status = true,
  return_status = true, paid_at = true }


function orders.set(tx, order_id, fields)
  local sets, args = { "version = version + 1" }, {}
  for name, value in pairs(fields) do
    if not SETTABLE[name] then error("orders.set does not change " .. name, 2) end
    sets[#sets + 1], args[#args + 1] = name .. " = ?", value
  end
  args[#args + 1] = db.bin("ord", order_id)
  return tx:exec("UPDATE orders SET " .. table.concat(sets, ", ") .. " WHERE id = ?", unpack(args))
end


function orders.event(tx, order_id, kind, actor, data)
  return db.on(tx):exec("INSERT INTO order_events (order_id, type, actor, data, at)"
    .. " VALUES (?, ?, ?, ?, ?)", db.bin("ord", order_id), kind, actor, db.to_json(data or {}),
    db.now())
end


-- What happened to the order, and what staff did about the flow that made it.
local TIMELINE = "(SELECT CONCAT('1', LPAD(id, 20, '0')) AS id, type, actor, data, at"
  .. " FROM order_events WHERE order_id = ? UNION ALL"
  .. " SELECT CONCAT('0', LPAD(e.id, 20, '0')), CONCAT('checkout_', e.type), e.actor, e.data, e.at"
  .. " FROM saga_events e JOIN sagas s ON s.id = e.saga_id WHERE s.name = 'checkout'"
  .. " AND s.aggregate = ?) AS events"


--- The timeline, oldest first. opts: limit, after, before; `order` has id and cart_id.
function orders.events(order, opts)
  local rows, e = page.rows { select = "id, type, actor, data, at", from = TIMELINE,
    args = { db.bin("ord", order.id), order.cart_id or "" }, key = "at", key_param = db.at,
    id = "id", opts = opts }
  if not rows then return nil, e end
  for _, row in ipairs(rows) do row.data = db.json(row.data) end
  return rows
end


--- Units that will not be sent; the table refuses more than there are.
function orders.count_cancelled(tx, line_id, n)
  return tx:exec("UPDATE order_lines SET cancelled_quantity = cancelled_quantity + ? WHERE id = ?",
    n, db.bin("line", line_id))
end


--- Units that came back; the table refuses more than were sent.
function orders.count_returned(tx, line_id, n)
  return tx:exec("UPDATE order_lines SET returned_quantity = returned_quantity + ? WHERE id = ?",
    n, db.bin("line", line_id))
end


--- By the id of a line: its id in the price trace. nil where the order has none.
function orders.frozen_ids(tx, order_id)
  local rows, e = tx:query("SELECT id, JSON_VALUE(trace, '$.id') AS frozen FROM order_lines"
    .. " WHERE order_id = ?", db.bin("ord", order_id))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[id.text("line", row.id)] = row.frozen end
  return out
end


orders.ledger = ledger.post


return orders
