-- till/store/carts - carts, their lines and codes. A cart is read whole and saved whole, under the
-- version that was read: who comes second is told so and reads again.
--
--   create(fields, tx) -> cart
--   get(id [, tx])     -> cart | false | nil, err
--   save(tx, cart)     -> true | false (somebody else was first) | nil, err; raises cart.version
--   claim(tx, cart, until_ms [, held]) -> number | false: it is claimed, completed or changed
--   unclaim(tx, id, claim)    back to open
--   complete(tx, id, claim, order_id) -> true | false when the claim was taken over
--
-- A cart: id, version, state, currency, country, email, shipping_address, billing_address,
-- shipping_option_id, customer_id, key_id, priced, generation, claim, claimed_until, order_id,
-- lines { id, variant_id, quantity }, codes, created_at, updated_at.
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
    created_at = row.created_at, updated_at = row.updated_at, lines = {}, codes = {},
  }
end


function carts.get(cart_id, tx)
  local conn, bin = db.on(tx), db.bin("cart", cart_id)
  local row, e = conn:one("SELECT " .. COLUMNS .. " FROM carts WHERE id = ?", bin)
  if not row then return row, e end
  local lines, e2 = conn:query("SELECT id, variant_id, quantity FROM cart_lines WHERE cart_id = ?"
    .. " ORDER BY id", bin)
  if not lines then return nil, e2 end
  local codes, e3 = conn:query("SELECT code FROM cart_promotions WHERE cart_id = ? ORDER BY code",
    bin)
  if not codes then return nil, e3 end
  local cart = to_cart(row)
  for i, line in ipairs(lines) do
    cart.lines[i] = { id = id.text("line", line.id), variant_id = id.text("var", line.variant_id),
      quantity = line.quantity }
  end
  for i, code in ipairs(codes) do cart.codes[i] = code.code end
  return cart
end


function carts.create(fields, tx)
  local cart_id = id.new("cart")
  local now = db.now()
  local ok, e = db.on(tx):exec("INSERT INTO carts (id, currency, country, customer_id, key_id,"
    .. " email, priced, generation, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    db.bin("cart", cart_id), fields.currency, fields.country, db.bin("cus", fields.customer_id),
    db.bin("key", fields.key_id), fields.email or sql.null, db.to_json(fields.priced),
    fields.generation or sql.null, now, now)
  if not ok then return nil, e end
  return carts.get(cart_id, tx)
end


local function save_lines(tx, cart)
  local bin, kept = db.bin("cart", cart.id), {}
  for i, line in ipairs(cart.lines) do kept[i] = line.id end
  local bins = db.bins("line", kept)
  local ok, e = tx:exec("DELETE FROM cart_lines WHERE cart_id = ?"
    .. (#bins > 0 and " AND id NOT IN (" .. sql.marks(#bins) .. ")" or ""), bin, unpack(bins))
  for i, line in ipairs(cart.lines) do
    if not ok then return nil, e end
    ok, e = tx:exec("INSERT INTO cart_lines (id, cart_id, variant_id, quantity) VALUES (?, ?, ?, ?)"
      .. " ON DUPLICATE KEY UPDATE quantity = VALUES(quantity)", bins[i], bin,
      db.bin("var", line.variant_id), line.quantity)
  end
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


--- `cart.changed` names what is to be written besides the cart's own row: lines, codes.
function carts.save(tx, cart)
  local done, e = tx:exec("UPDATE carts SET version = version + 1, currency = ?, country = ?,"
    .. " email = ?, shipping_address = ?, billing_address = ?, shipping_option_id = ?,"
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


--- Completion takes the cart for itself, for a time. The claim grows with the clock. `held` is the
-- claim of a completion that waits: whoever resumes it takes it over.
function carts.claim(tx, cart, until_ms, held)
  local bin = db.bin("cart", cart.id)
  local done, e = db.on(tx):exec("UPDATE carts SET state = 'completing',"
    .. " claim = GREATEST(COALESCE(claim, 0) + 1, ?), claimed_until = ? WHERE id = ?"
    .. " AND version = ? AND (state = 'open' OR state = 'completing'"
    .. " AND (claimed_until < ? OR claim = ?))", time.now_ms(), db.at_ms(until_ms), bin,
    cart.version, db.now(), held or 0)
  if not done then return nil, e end
  if done.affected == 0 then return false end
  local row, e2 = db.on(tx):one("SELECT claim FROM carts WHERE id = ?", bin)
  if not row then return nil, e2 end
  return row.claim
end


function carts.unclaim(tx, cart_id, claim)
  return db.on(tx):exec("UPDATE carts SET state = 'open', claimed_until = NULL,"
    .. " version = version + 1 WHERE id = ? AND claim = ? AND state = 'completing'",
    db.bin("cart", cart_id), claim)
end


function carts.complete(tx, cart_id, claim, order_id)
  local done, e = tx:exec("UPDATE carts SET state = 'completed', order_id = ?,"
    .. " claimed_until = NULL, version = version + 1 WHERE id = ? AND claim = ?"
    .. " AND state = 'completing'", db.bin("ord", order_id), db.bin("cart", cart_id), claim)
  if not done then return nil, e end
  return done.affected == 1
end


return carts
