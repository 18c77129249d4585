-- till/store/carts - carts, their lines and codes. A cart is read whole and saved whole, under the
-- version that was read: who comes second is told so and reads again.
--
--   create(fields, tx) -> cart
--   get(id [, tx])     -> cart | false | nil, err
--   save(tx, cart)     -> true | false (somebody else was first) | nil, err; raises cart.version
--   is_still(tx, cart) -> true | false | nil, err: the row is as it was read and nobody completes
--                     it; locked until the end
--   claim(tx, cart, until_ms [, held]) -> number | false: it is claimed, completed or changed
--   unclaim(tx, id, claim)    back to open      lapse(id, claim)    the claim is over, no more
--   complete(tx, id, claim, order_id) -> true | false when the claim was taken over
--
-- A cart: id, version, state, currency, country, email, shipping_address, billing_address,
-- shipping_option_id, customer_id, key_id, priced, generation, claim, claimed_until, order_id,
-- lines { id, variant_id, quantity }, codes, created_at, updated_at; `stored` is what the table
-- holds of the lines, by id.
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local carts = {}

local COLUMNS = "id, version, state, currency, country, email, shipping_address, billing_address,"
  .. " shipping_option_id, customer_id, key_id, priced, generation, claim, claimed_until, order_id,"
  .. " created_at, updated_at"


local function to_cart(row)
  return {
    id = id.text("cart", row.id), version = row.version, state = row.state,
    currency = row.currency, country = row.country, email = row.email,
    shipping_address = db.json(row.shipping_address),
    billing_address = db.json(row.billing_address), shipping_option_id = row.shipping_option_id,
    customer_id = db.text("cus", row.customer_id), key_id = db.text("key", row.key_id),
    priced = db.json(row.priced), generation = row.generation, claim = row.claim,
    claimed_until = row.claimed_until, order_id = db.text("ord", row.order_id),
    created_at = row.created_at, updated_at = row.updated_at, lines = {}, codes = {}, stored = {},
  }
end


-- A cart is read with nearly every request: its lines and codes come in columns of its own row,
-- in one round trip. A line is 16 + 16 bytes of ids and 19 digits; no code has a NUL.
local LINE_BYTES = 51
local WHOLE = "SELECT " .. COLUMNS .. ","
  .. " (SELECT GROUP_CONCAT(id, variant_id, LPAD(quantity, 19, '0') ORDER BY id SEPARATOR '')"
  .. " FROM cart_lines WHERE cart_id = carts.id) AS line_rows,"
  .. " (SELECT GROUP_CONCAT(code ORDER BY code SEPARATOR '\\0')"
  .. " FROM cart_promotions WHERE cart_id = carts.id) AS code_rows FROM carts WHERE id = ?"


local function add_lines(cart, packed)
  for at = 1, #packed, LINE_BYTES do
    local line = { id = id.text("line", packed:sub(at, at + 15)),
      variant_id = id.text("var", packed:sub(at + 16, at + 31)),
      quantity = tonumber(packed:sub(at + 32, at + 50)) }
    cart.lines[#cart.lines + 1], cart.stored[line.id] = line, line.quantity
  end
end


function carts.get(cart_id, tx)
  local row, e = db.on(tx):one(WHOLE, db.bin("cart", cart_id))
  if not row then return row, e end
  local cart = to_cart(row)
  add_lines(cart, row.line_rows or "")
  for code in (row.code_rows or ""):gmatch("[^%z]+") do cart.codes[#cart.codes + 1] = code end
  return cart
end


function carts.create(fields, tx)
  local cart_id, now_ms = id.new("cart"), time.now_ms()
  local now, at = db.at_ms(now_ms), time.rfc3339(now_ms)
  local ok, e = db.on(tx):exec("INSERT INTO carts (id, currency, country, customer_id, key_id,"
    .. " email, priced, generation, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    db.bin("cart", cart_id), fields.currency, fields.country, db.bin("cus", fields.customer_id),
    db.bin("key", fields.key_id), fields.email or sql.null, db.to_json(fields.priced),
    fields.generation or sql.null, now, now)
  if not ok then return nil, e end
  return { id = cart_id, version = 1, state = "open", currency = fields.currency,
    country = fields.country, email = fields.email, customer_id = fields.customer_id,
    key_id = fields.key_id, priced = fields.priced, generation = fields.generation,
    created_at = at, updated_at = at, lines = {}, codes = {}, stored = {} }
end


local function delete_lines(tx, bin, gone)
  if #gone == 0 then return true end
  return tx:exec("DELETE FROM cart_lines WHERE cart_id = ? AND id IN (" .. sql.marks(#gone) .. ")",
    bin, unpack(db.bins("line", gone)))
end


local function put_lines(tx, bin, lines)
  if #lines == 0 then return true end
  local args = {}
  for _, line in ipairs(lines) do
    local n = #args
    args[n + 1], args[n + 2] = db.bin("line", line.id), bin
    args[n + 3], args[n + 4] = db.bin("var", line.variant_id), line.quantity
  end
  return tx:exec("INSERT INTO cart_lines (id, cart_id, variant_id, quantity) VALUES (?, ?, ?, ?)"
    .. (", (?, ?, ?, ?)"):rep(#lines - 1) .. " ON DUPLICATE KEY UPDATE quantity = VALUES(quantity)",
    unpack(args))
end


-- The cart's row was changed under the version that was read and is locked: the table still holds
-- what was read, so only the difference is written.
local function save_lines(tx, cart)
  local bin, gone, put, kept = db.bin("cart", cart.id), {}, {}, {}
  for _, line in ipairs(cart.lines) do
    kept[line.id] = line.quantity
    if cart.stored[line.id] ~= line.quantity then put[#put + 1] = line end
  end
  for line_id in pairs(cart.stored) do
    if not kept[line_id] then gone[#gone + 1] = line_id end
  end
  local ok, e = delete_lines(tx, bin, gone)
  if ok then ok, e = put_lines(tx, bin, put) end
  if ok then cart.stored = kept end
  return ok, e
end


local function save_codes(tx, cart)
  local bin = db.bin("cart", cart.id)
  local ok, e = tx:exec("DELETE FROM cart_promotions WHERE cart_id = ?", bin)
  for _, code in ipairs(cart.codes) do
    if not ok then return nil, e end
    ok, e = tx:exec("INSERT INTO cart_promotions (cart_id, code) VALUES (?, ?)", bin, code)
  end
  return ok, e
end


--- `cart.changed` names what is to be written besides the cart's own row: lines, codes. Where there
-- is nothing besides, one statement is a transaction by itself and tx may be nil.
function carts.save(tx, cart)
  local done, e = db.on(tx):exec("UPDATE carts SET version = version + 1, currency = ?,"
    .. " country = ?, email = ?, shipping_address = ?, billing_address = ?, shipping_option_id = ?,"
    .. " customer_id = ?, priced = ?, generation = ?, state = 'open', claim = NULL,"
    .. " claimed_until = NULL, updated_at = ? WHERE id = ? AND version = ?"
    .. " AND (state = 'open' OR state = 'completing' AND claimed_until < ?)", cart.currency,
    cart.country, cart.email or sql.null, db.to_json(cart.shipping_address),
    db.to_json(cart.billing_address), cart.shipping_option_id or sql.null,
    db.bin("cus", cart.customer_id), db.to_json(cart.priced), cart.generation or sql.null,
    db.now(), db.bin("cart", cart.id), cart.version, db.now())
  if not done then return nil, e end
  if done.affected == 0 then return false end
  local ok, e2 = true, nil
  if cart.changed.lines then ok, e2 = save_lines(tx, cart) end
  if ok and cart.changed.codes then ok, e2 = save_codes(tx, cart) end
  if not ok then return nil, e2 end
  cart.version = cart.version + 1
  return true
end


function carts.is_still(tx, cart)
  local row, e = tx:one("SELECT version FROM carts WHERE id = ? AND version = ? AND (state = 'open'"
    .. " OR state = 'completing' AND claimed_until < ?) FOR UPDATE", db.bin("cart", cart.id),
    cart.version, db.now())
  if row == nil then return nil, e end
  return row ~= false
end


--- Completion takes the cart for itself, for a time. The claim grows with the clock. `held` is the
-- claim of a completion that waits: whoever resumes it takes it over.
function carts.claim(tx, cart, until_ms, held)
  local bin = db.bin("cart", cart.id)
  local done, e = db.on(tx):exec("UPDATE carts SET state = 'completing',"
    .. " claim = LAST_INSERT_ID(GREATEST(COALESCE(claim, 0) + 1, ?)), claimed_until = ?"
    .. " WHERE id = ? AND version = ? AND (state = 'open' OR state = 'completing'"
    .. " AND (claimed_until < ? OR claim = ?))", time.now_ms(), db.at_ms(until_ms), bin,
    cart.version, db.now(), held or 0)
  if not done then return nil, e end
  if done.affected == 0 then return false end
  return done.insert_id
end


function carts.unclaim(tx, cart_id, claim)
  return db.on(tx):exec("UPDATE carts SET state = 'open', claimed_until = NULL,"
    .. " version = version + 1 WHERE id = ? AND claim = ? AND state = 'completing'",
    db.bin("cart", cart_id), claim)
end


--- Gives the claim back and leaves the cart as it was found: its completion was begun, not ended.
function carts.lapse(cart_id, claim)
  return sql.exec("UPDATE carts SET claimed_until = ? WHERE id = ? AND claim = ?"
    .. " AND state = 'completing'", db.now(), db.bin("cart", cart_id), claim)
end


function carts.complete(tx, cart_id, claim, order_id)
  local done, e = tx:exec("UPDATE carts SET state = 'completed', order_id = ?,"
    .. " claimed_until = NULL, version = version + 1 WHERE id = ? AND claim = ?"
    .. " AND state = 'completing'", db.bin("ord", order_id), db.bin("cart", cart_id), claim)
  if not done then return nil, e end
  return done.affected == 1
end


return carts
