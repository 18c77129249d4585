-- till/store/carts - carts. A cart is one row, read whole and saved whole, under the version that
-- was read: who comes second is told so and reads again. Its lines are those that were priced.
--
--   create(fields, tx) -> cart
--   get(id [, tx [, locked]]) -> cart | false | nil, err; locked until the end
--   SEEN, of_seen(row) -> cart   a derived table of one cart (its id is the parameter) whose
--                     columns begin with c_, and its row, for who reads more than the cart
--   save(tx, cart)     -> true | false (somebody else was first) | nil, err; the cart is then as
--                     the table has it, and cart.may_hold says whether it may hold stock
--   as_read(cart) -> function() that puts back what `save` changes of it: the first thing in a
--                     transaction, which runs again from what was read
--   is_still(tx, cart) -> true | false | nil, err: the row is as it was read and nobody completes
--                     it; locked until the end
--   in_doubt(cart [, tx]) -> true | false | nil, err: its completion waits for an outcome, however
--                     long ago its claim ended. Such a cart is neither saved nor merged, and it is
--                     no current one: what may be paid for stays as it is
--   current(customer_id [, currency [, but [, tx]]]) -> cart | false | nil, err
--   lock_customer(tx, customer_id)
--   merged(tx, cart, into_id, customer_id) -> true | false | nil, err
--   claim(tx, cart, until_ms [, held]) -> number | false: it is claimed, completed or changed
--   claim_with(script, cart, until_ms)   with the script; refused (TAKEN) where claim says false
--   unclaim(tx, id, claim)    back to open      lapse(id, claim)    the claim is over, no more
--   is_claimed(tx, id, claim) -> true | false | nil, err: nobody has taken it over; locked until
--                     the end
--   claim_left(cart) -> ms that its claim keeps others away still; 0 where it is over, or void
--   CLAIMED, claim_bounds()   the same as a condition, and its two arguments
--   lock(script, cart)        for what is reserved for it next: refused (TAKEN) where it is not as
--                     it was read, is being completed, may hold stock already, or is paid for in
--                     parts; locked until the end
--   holds(tx, id)      something is reserved for it, or a payment of it is of a part
--   complete(script, cart, claim, order_id)   refused (TAKEN) where the claim was taken over;
--                     claim nil: where the cart is not open as it was read
--
-- A cart: id, version, state, currency, country, email, shipping_address, billing_address,
-- shipping_option_id, customer_id, key_id, priced, generation, claim, claimed_until, order_id,
-- merged_into, lines { id, variant_id, quantity }, codes, created_at, updated_at. `priced` is made
-- from the lines before each save (till.flow.pricing).
--
-- A claim that ends later than any can is void: a clock that was far ahead has made it, and nobody
-- may ever come by to end it. Who is at it still is fenced by its number, as where it is over.
local db = require "till.store.db"
local id = require "till.util.id"
local json = require "till.prim.json"
local sagas = require "till.store.sagas"
local sql = require "till.prim.sql"
local time = require "till.prim.time"

local carts = { TAKEN = "taken", CLAIMED = "claimed_until BETWEEN ? AND ?" }

-- The longest there is (cart.completion_claim_ms), by a clock that is an hour ahead.
local LONGEST_CLAIM_MS = 600000 + 3600000

local COLUMNS = "id, version, state, currency, country, email, shipping_address, billing_address,"
  .. " shipping_option_id, customer_id, key_id, priced, codes, generation, claim, claimed_until,"
  .. " order_id, merged_into, created_at, updated_at"
carts.SEEN = "(SELECT " .. COLUMNS:gsub("(%l[%l_]*)", "%1 AS c_%1") .. " FROM carts WHERE id = ?)"


-- What is priced is the cart: a line that could not be priced is in neither.
local function lines_of(priced)
  local out = {}
  for i, line in ipairs(priced and priced.lines or {}) do
    out[i] = { id = line.id, variant_id = line.variant_id, quantity = line.quantity }
  end
  return out
end


local function to_cart(row)
  local priced = db.json(row.priced)
  return {
    id = id.text("cart", row.id), version = row.version, state = row.state,
    currency = row.currency, country = row.country, email = row.email,
    shipping_address = db.json(row.shipping_address),
    billing_address = db.json(row.billing_address), shipping_option_id = row.shipping_option_id,
    customer_id = db.text("cus", row.customer_id), key_id = db.text("key", row.key_id),
    priced = priced, generation = row.generation, claim = row.claim,
    claimed_until = row.claimed_until, order_id = db.text("ord", row.order_id),
    merged_into = db.text("cart", row.merged_into),
    created_at = row.created_at, updated_at = row.updated_at, lines = lines_of(priced),
    codes = db.json(row.codes) or {},
  }
end


local NAMES = {}
for name in COLUMNS:gmatch "%l[%l_]*" do NAMES[name] = "c_" .. name end


function carts.of_seen(row)
  local own = {}
  for name, seen in pairs(NAMES) do own[name] = row[seen] end
  return to_cart(own)
end


function carts.get(cart_id, tx, locked)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM carts WHERE id = ?"
    .. (locked and " FOR UPDATE" or ""), db.bin("cart", cart_id))
  if not row then return row, e end
  return to_cart(row)
end


function carts.claim_bounds()
  return db.now(), db.now(LONGEST_CLAIM_MS)
end


function carts.claim_left(cart)
  local left_ms = cart.claimed_until and time.parse(cart.claimed_until) - time.now_ms() or 0
  return left_ms <= LONGEST_CLAIM_MS and math.max(0, left_ms) or 0
end


-- Of one that was read as completing: was that dropped, or is its outcome not known yet?
local DROPPED = "(state = 'open' OR state = 'completing' AND NOT " .. carts.CLAIMED
  .. " AND NOT EXISTS"
  .. " (SELECT 1 FROM sagas s WHERE s.name = 'checkout' AND s.aggregate = ? AND "
  .. sagas.IN_DOUBT .. " AND JSON_VALUE(s.data, '$.cart_version') = carts.version))"


-- Who may change it: a condition, and its arguments.
local function is_free(cart)
  return cart.state == "completing" and DROPPED or "state = 'open'"
end


local function free_args(cart)
  if cart.state ~= "completing" then return end
  local now, longest = carts.claim_bounds()
  return now, longest, cart.id
end


function carts.in_doubt(cart, tx)
  if cart.state ~= "completing" then return false end
  local row, e = sagas.find("checkout", cart.id, tx)
  if not row then return row, e end
  return row.data.cart_version == cart.version and sagas.is_in_doubt(row)
end


local function before(customer_id, currency, but, last, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM carts WHERE customer_id = ?"
    .. " AND (? IS NULL OR currency = ?) AND id <> ? AND (? IS NULL OR id < ?)"
    .. " AND (state = 'open' OR state = 'completing' AND NOT " .. carts.CLAIMED .. ")"
    .. " ORDER BY id DESC LIMIT 1", db.bin("cus", customer_id), currency or sql.null,
    currency or sql.null, but and db.bin("cart", but) or sql.bytes(""), db.bin("cart", last),
    db.bin("cart", last), carts.claim_bounds())
  if not row then return row, e end
  return to_cart(row)
end


--- The open one that the customer has begun last; `currency` and `but`, a cart id, may be nil.
function carts.current(customer_id, currency, but, tx)
  local cart, e
  repeat
    cart, e = before(customer_id, currency, but, cart and cart.id, tx)
    if not cart then return cart, e end
    local doubt, e2 = carts.in_doubt(cart, tx)
    if doubt == nil then return nil, e2 end
  until not doubt
  return cart
end


--- Who makes carts of a customer one takes turns here. It writes, so that the nodes of a cluster
--- see it too.
function carts.lock_customer(tx, customer_id)
  return tx:exec("UPDATE customers SET updated_at = ? WHERE id = ?", db.now(),
    db.bin("cus", customer_id))
end


--- Its lines are in another one from now on. -> true | false: it was changed | nil, err
function carts.merged(tx, cart, into_id, customer_id)
  local done, e = tx:exec("UPDATE carts SET state = 'merged', merged_into = ?, customer_id = ?,"
    .. " claim = NULL, claimed_until = NULL, version = version + 1, updated_at = ?"
    .. " WHERE id = ? AND version = ? AND " .. is_free(cart), db.bin("cart", into_id),
    db.bin("cus", customer_id), db.now(), db.bin("cart", cart.id), cart.version, free_args(cart))
  if not done then return nil, e end
  return done.affected == 1
end


function carts.create(fields, tx)
  local cart_id, now_ms = id.new("cart"), time.now_ms()
  local now, at = db.at_ms(now_ms), time.rfc3339(now_ms)
  local ok, e = db.on(tx):exec("INSERT INTO carts (id, currency, country, customer_id, key_id,"
    .. " email, priced, generation, may_hold, created_at, updated_at)"
    .. " VALUES (?, ?, ?, ?, ?, ?, ?, ?, FALSE, ?, ?)",
    db.bin("cart", cart_id), fields.currency, fields.country, db.bin("cus", fields.customer_id),
    db.bin("key", fields.key_id), fields.email or sql.null, db.to_json(fields.priced),
    fields.generation or sql.null, now, now)
  if not ok then return nil, e end
  return { id = cart_id, version = 1, state = "open", currency = fields.currency,
    country = fields.country, email = fields.email, customer_id = fields.customer_id,
    key_id = fields.key_id, priced = fields.priced, generation = fields.generation,
    created_at = at, updated_at = at, lines = {}, codes = {} }
end


-- A cart without codes keeps NULL: so do nearly all.
local function codes_of(cart)
  if #cart.codes == 0 then return sql.null end
  return json.encode(cart.codes)
end


--- One statement is a transaction by itself: tx may be nil. Whether the cart may hold stock comes
-- back as the id that it "inserted".
function carts.save(tx, cart)
  local now_ms = time.now_ms()
  local done, e = db.on(tx):exec("UPDATE carts SET"
    .. " version = version + 1 + 0 * LAST_INSERT_ID(may_hold), currency = ?,"
    .. " country = ?, email = ?, shipping_address = ?, billing_address = ?, shipping_option_id = ?,"
    .. " customer_id = ?, priced = ?, codes = ?, generation = ?, state = 'open', claim = NULL,"
    .. " claimed_until = NULL, updated_at = ? WHERE id = ? AND version = ? AND " .. is_free(cart),
    cart.currency, cart.country, cart.email or sql.null, db.to_json(cart.shipping_address),
    db.to_json(cart.billing_address), cart.shipping_option_id or sql.null,
    db.bin("cus", cart.customer_id), db.to_json(cart.priced), codes_of(cart),
    cart.generation or sql.null, db.at_ms(now_ms), db.bin("cart", cart.id), cart.version,
    free_args(cart))
  if not done then return nil, e end
  if done.affected == 0 then return false end
  cart.version, cart.state, cart.updated_at = cart.version + 1, "open", time.rfc3339(now_ms)
  cart.claim, cart.claimed_until, cart.may_hold = nil, nil, done.insert_id == 1
  return true
end


function carts.as_read(cart)
  local version, state, at = cart.version, cart.state, cart.updated_at
  local claim, until_at = cart.claim, cart.claimed_until
  return function()
    cart.version, cart.state, cart.updated_at = version, state, at
    cart.claim, cart.claimed_until = claim, until_at
  end
end


function carts.is_still(tx, cart)
  local row, e = tx:one("SELECT version FROM carts WHERE id = ? AND version = ? AND "
    .. is_free(cart) .. " FOR UPDATE", db.bin("cart", cart.id), cart.version, free_args(cart))
  if row == nil then return nil, e end
  return row ~= false
end


--- Completion takes the cart for itself, for a time. The claim grows with the clock. `held` is the
-- claim of a completion that waits: whoever resumes it takes it over.
local CLAIM = "UPDATE carts SET state = 'completing',"
  .. " claim = LAST_INSERT_ID(GREATEST(COALESCE(claim, 0) + 1, ?)), claimed_until = ?"
  .. " WHERE id = ? AND version = ? AND (state = 'open' OR state = 'completing'"
  .. " AND (claim = ? OR NOT " .. carts.CLAIMED .. "))"


function carts.claim(tx, cart, until_ms, held)
  local done, e = db.on(tx):exec(CLAIM, time.now_ms(), db.at_ms(until_ms),
    db.bin("cart", cart.id), cart.version, held or 0, carts.claim_bounds())
  if not done then return nil, e end
  if done.affected == 0 then return false end
  return done.insert_id
end


--- The same with a script, whose @till_claim it is then; refused (TAKEN) instead of false.
function carts.claim_with(script, cart, until_ms)
  script:must(carts.TAKEN, 1, CLAIM, time.now_ms(), db.at_ms(until_ms), db.bin("cart", cart.id),
    cart.version, 0, carts.claim_bounds())
  script:exec("SET @till_claim = LAST_INSERT_ID()")
end


function carts.is_claimed(tx, cart_id, claim)
  local row, e = tx:one("SELECT 1 AS yes FROM carts WHERE id = ? AND claim = ?"
    .. " AND state = 'completing' FOR UPDATE", db.bin("cart", cart_id), claim)
  if row == nil then return nil, e end
  return row ~= false
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


function carts.lock(script, cart)
  local bin = db.bin("cart", cart.id)
  script:about(cart.id)
  script:must(carts.TAKEN, 1, "UPDATE carts SET may_hold = TRUE, updated_at = updated_at"
    .. " WHERE id = ? AND version = ? AND state = 'open' AND NOT may_hold", bin, cart.version)
end


-- Whoever reserves says so, under the lock of the cart's row: so carts without need not be asked
-- for. It is never taken back.
function carts.holds(tx, cart_id)
  return tx:exec("UPDATE carts SET may_hold = TRUE, updated_at = updated_at WHERE id = ?"
    .. " AND NOT may_hold", db.bin("cart", cart_id))
end


function carts.complete(script, cart, claim, order_id)
  script:about(cart.id)
  script:must(carts.TAKEN, 1, "UPDATE carts SET state = 'completed', order_id = ?,"
    .. " claimed_until = NULL, version = version + 1 WHERE id = ? AND "
    .. (claim and "claim = ? AND state = 'completing'" or "version = ? AND state = 'open'"),
    db.bin("ord", order_id), db.bin("cart", cart.id), claim or cart.version)
end


return carts
