-- till/flow/cart - changes of a cart. Each reads it whole, changes it, prices it and saves it under
-- the version that it read; who comes second reads again. No transaction is open while carriers
-- or tax services are asked.
--
-- A worker remembers the carts that it saved last, for the next change, payment session and
-- completion alone: most of what is done to a cart comes over the same connection. Who changes one
-- takes it out of memory; where the table has another version by now, or anything is refused, the
-- cart is read and all is done once more. An answer to GET is always read.
-- A change of a cart that holds stock makes it hold what it has for longer (till.flow.cart_hold).
--
--   create(auth, { currency, country }) -> cart
--   get(auth, id [, seen]) -> cart | nil, err(not_found)    of another key or another customer: not
--                   found. seen: the cart as it was read just now, false where there is none
--   recall(auth, id) -> cart | nil   as this worker saved it last: only for what names its version
--                   in a condition, and it is not to be changed. Whoever waits before he is done
--                   with it takes a copy(cart): the next change is made on this very table
--   change(ctx, id, fn, respond) -> cart | nil, err     fn(cart) -> true | nil, err;
--                                                  respond(cart) -> what a client is answered
--   reprice(cart) -> quote | nil, err;  forget(id);  check_open(cart) -> true | nil, err
--   add, set_quantity, remove, set_fields    make such an fn; so do those of till.flow.cart_codes
local carts = require "till.store.carts"
local catalog = require "till.flow.catalog"
local cart_hold = require "till.flow.cart_hold"
local co = require "till.prim.co"
local conf = require "till.prim.conf"
local db = require "till.store.db"
local err = require "till.util.err"
local hints = require "till.flow.live_hints"
local id = require "till.util.id"
local iso = require "till.util.iso"
local lru = require "till.util.lru"
local money = require "till.money"
local pricing = require "till.flow.pricing"
local sql = require "till.prim.sql"
local time = require "till.prim.time"
local turns = require "till.flow.turns"
local unpriced = require "till.flow.cart_unpriced"

local cart_flow = {}

local ATTEMPTS, PATIENT = 20, 3
local TURN_MS = 10000
local REMEMBERED, REMEMBER_MS = 2000, 600000

local remembered = lru.new(REMEMBERED)


local function remember(cart)
  cart.check, cart.chose_shipping, cart.may_hold = nil, nil, nil
  remembered:set(cart.id, cart, time.mono_ms() + REMEMBER_MS)
end


local function check_place(currency, country)
  if not money.exponent(currency) then
    return nil, err.new("unknown_currency", ("%s is not a currency of ISO 4217"):format(currency))
  end
  if not iso.country(country) then
    return nil, err.new("unknown_country", ("%s is not a country of ISO 3166"):format(country))
  end
  return true
end


function cart_flow.create(auth, fields)
  local defaults = pricing.defaults()
  local cart = { id = id.new("cart"), lines = {}, codes = {},
    currency = db.given(fields.currency) or defaults.currency,
    country = db.given(fields.country) or defaults.country,
    customer_id = auth.customer_id, key_id = auth.key_id, generation = co.generation() }
  local ok, e = check_place(cart.currency, cart.country)
  if not ok then return nil, e end
  local quote, e2 = pricing.price(cart)
  if not quote then return nil, e2 end
  cart.priced = quote.priced
  local made, e3 = carts.create(cart)
  if made then remember(made) end
  return made, e3
end


-- A cart begun as a guest is seen by its key, and by the customer once it is his.
local function may_see(auth, cart)
  if auth.kind == "none" then return false end
  if cart.customer_id then return cart.customer_id == auth.customer_id end
  return cart.key_id ~= nil and cart.key_id == auth.key_id
end


function cart_flow.get(auth, cart_id, seen)
  local cart, e = seen, nil
  if seen == nil then cart, e = carts.get(cart_id) end
  if cart == nil then return nil, e end
  if not cart or not may_see(auth, cart) then
    return nil, err.new("not_found", "there is no such cart")
  end
  return cart
end


function cart_flow.recall(auth, cart_id)
  local cart = remembered:get(cart_id, time.mono_ms())
  return cart and may_see(auth, cart) and cart or nil
end


function cart_flow.copy(cart)
  local out = {}
  for key, value in pairs(cart) do out[key] = value end
  out.lines, out.codes = {}, {}
  for i, line in ipairs(cart.lines) do
    out.lines[i] = { id = line.id, variant_id = line.variant_id, quantity = line.quantity }
  end
  for i, code in ipairs(cart.codes) do out.codes[i] = code end
  return out
end


-- A claim whose time ran out holds nobody up, unless nobody knows yet what became of the payment:
-- then the order may still come.
local function check_claim(cart)
  local left_ms = carts.claim_left(cart)
  if left_ms > 0 then
    return nil, err.new("completion_in_progress", "the cart is being completed; wait for its end",
      { retry_after_ms = math.min(left_ms, 2000) })
  end
  local doubt, e = carts.in_doubt(cart)
  if doubt == nil then return nil, e end
  if not doubt then return true end
  return nil, err.new("completion_in_progress", "the outcome of its payment is not known yet: the"
    .. " cart stays as it is until then; complete it again to ask", { retry_after_ms = 2000 })
end


--- Is it being completed just now? Only of one that is, or was, more is asked of the tables.
function cart_flow.check_open(cart)
  if cart.state == "completed" then
    return nil, err.new("cart_completed", "the cart is an order already",
      { order_id = cart.order_id })
  end
  if cart.state == "merged" then
    return nil, err.new("cart_merged", ("the cart went into %s, at a login")
      :format(cart.merged_into))
  end
  if cart.state == "completing" then return check_claim(cart) end
  return true
end


--- Prices it as it is now; what it holds is to be saved then. An option of shipping that is not
--- offered any more is given up, unless the shopper has chosen it just now.
function cart_flow.reprice(cart)
  local quote, e = pricing.price(cart)
  if not quote and err.is(e, "shipping_unavailable") and not cart.chose_shipping then
    cart.shipping_option_id = nil
    quote, e = pricing.price(cart)
  end
  if not quote then return nil, e end
  cart.priced, cart.generation = quote.priced, co.generation()
  return quote
end


-- Somebody in the way is somebody who was first: the cart is read again.
-- `finish` writes the record of an Idempotency-Key along: its request happened if the change did.
local function save(cart, finish)
  if finish then
    local back = carts.as_read(cart)
    return sql.transaction(function(tx)
      back()
      local saved, e = carts.save(tx, cart)
      if saved then return finish(tx) end
      return saved, e
    end)
  end
  local saved, e = carts.save(nil, cart)
  if saved == nil and err.is(e, "deadlock") then return false end
  return saved, e
end


local function take(auth, cart_id)
  local cart = remembered:get(cart_id, time.mono_ms())
  if not cart then return nil end
  remembered:drop(cart_id)
  return may_see(auth, cart) and cart or nil
end


-- true | false: it was changed meanwhile | nil, err
local function attempt(ctx, cart, fn, respond)
  local ok, e2 = ctx:matches(cart.version)
  if ok then ok, e2 = cart_flow.check_open(cart) end
  if not ok then return nil, e2 end
  if ctx.auth.customer_id then cart.customer_id = cart.customer_id or ctx.auth.customer_id end
  ok, e2 = fn(cart)
  if not ok then return nil, e2 end
  local quote, e3 = cart_flow.reprice(cart)
  if not quote then return nil, e3 end
  if cart.check then
    ok, e2 = cart.check(quote)
    if not ok then return nil, e2 end
  end
  local finish = ctx.idem and function(tx) return ctx:finish(tx, respond(cart)) end
  local saved, e4 = save(cart, finish)
  if saved == nil then return nil, e4 end
  if saved and finish then ctx:committed() end
  return saved
end


--- What is remembered of it is out of date.
function cart_flow.forget(cart_id)
  remembered:drop(cart_id)
end


-- What is remembered of a cart may be out of date: what is refused of that is asked of the cart as
-- it is now. What failed may be done all the same, and only who asked may ask for it again.
local function may_be_outdated(e)
  return (e.http or 500) < 499
end


local function change(ctx, cart_id, fn, respond)
  local cart = take(ctx.auth, cart_id)
  local is_read = not cart
  for n = 1, ATTEMPTS do
    if n > PATIENT then time.sleep(1 + time.mono_us() % n) end
    local saved, e
    if not cart then cart, e = cart_flow.get(ctx.auth, cart_id) end
    if not cart then return nil, e end
    local before = cart.priced
    saved, e = attempt(ctx, cart, fn, respond)
    if saved then
      if cart.may_hold then cart_hold.keep(cart, before) end
      remember(cart)
      hints.cart(cart.id)
      return cart
    end
    if saved == nil and (is_read or not may_be_outdated(e)) then return nil, e end
    cart, is_read = nil, true
  end
  return nil, err.new("busy", "the cart is changed by others at the same time")
end


--- Changes of one cart in this worker come one after the other; those in others meet at its
--- version.
function cart_flow.change(ctx, cart_id, fn, respond)
  return turns.with(cart_id, TURN_MS, change, ctx, cart_id, fn, respond)
end


local function bad_quantity(quantity)
  local max = conf.get("cart.max_quantity")
  if quantity >= 1 and quantity <= max then return nil end
  return err.new("invalid_quantity", ("a line has 1 to %d units"):format(max), { errors = {
    { pointer = "/quantity", detail = ("must be 1 to %d"):format(max), code = "range" } } })
end


local function set_line(cart, variant_id, quantity, adds)
  for _, line in ipairs(cart.lines) do
    if line.variant_id == variant_id then
      line.quantity = quantity + (adds and line.quantity or 0)
      return bad_quantity(line.quantity)
    end
  end
  if #cart.lines >= conf.get("cart.max_lines") then
    return err.new("invalid_request", "the cart has as many lines as it may have")
  end
  cart.lines[#cart.lines + 1] = { id = id.new("line"), variant_id = variant_id,
    quantity = quantity }
  return bad_quantity(quantity)
end


function cart_flow.add(variant_id, quantity)
  return function(cart)
    local bad = bad_quantity(quantity)
    if bad then return nil, bad end
    local variants, e = catalog.variants({ variant_id })
    if not variants then return nil, e end
    local variant = variants[variant_id]
    if not variant or not variant.sellable then
      return nil, err.new("not_found", "this product is not sold", { errors = {
        { pointer = "/variant_id", detail = "is not sold", code = "unknown" } } })
    end
    bad = set_line(cart, variant_id, quantity, true)
    if bad then return nil, bad end
    return true
  end
end


local function index_of(cart, line_id)
  for i, line in ipairs(cart.lines) do
    if line.id == line_id then return i end
  end
  return nil, err.new("not_found", "the cart has no such line")
end


function cart_flow.set_quantity(line_id, quantity)
  return function(cart)
    local i, e = index_of(cart, line_id)
    if not i then return nil, e end
    if quantity == 0 then
      table.remove(cart.lines, i)
      return unpriced.take_out(cart) -- with one of them left it would be refused
    end
    cart.lines[i].quantity = quantity
    local bad = bad_quantity(quantity)
    if bad then return nil, bad end
    return true
  end
end


function cart_flow.remove(line_id)
  return cart_flow.set_quantity(line_id, 0)
end


local FIELDS = { "email", "shipping_address", "billing_address", "shipping_option_id" }


function cart_flow.set_fields(fields)
  return function(cart)
    for _, name in ipairs(FIELDS) do
      if fields[name] ~= nil then cart[name] = db.given(fields[name]) end
    end
    local address = cart.shipping_address
    if fields.shipping_address ~= nil and address then
      local ok, e = check_place(cart.currency, address.country)
      if not ok then return nil, e end
      cart.country = address.country
    end
    cart.chose_shipping = db.given(fields.shipping_option_id) ~= nil
    return true
  end
end


return cart_flow
