-- till/flow/cart_merge - what somebody gathered as a guest, and what he has as a customer, become
-- one cart.
--
--   merge(who, cart_id) -> cart, left_out | nil, err      who: { customer_id, key_id }
--   current(customer_id) -> cart | false | nil, err       the cart begun last that is open
--
-- The rules (docs/api.md tells them to clients). The guest's cart goes into the customer's open
-- cart of the same currency; where he has none it becomes his. Quantities of the same product add
-- up, to the limit of a line; codes are united; e-mail, addresses and shipping are the guest's
-- where he has given them, for he has just typed them in. What has no room or is not sold any more
-- is named in left_out: { variant_id, quantity, reason }.
--
-- Twice is once: both carts are saved in one transaction, each under the version that it was read
-- with, and the guest's cart says from then on where its lines went. Two devices that log in at
-- once take turns at the customer's row; who comes second reads all of it again.
local carts = require "till.store.carts"
local cart_flow = require "till.flow.cart"
local catalog = require "till.flow.catalog"
local conf = require "till.prim.conf"
local err = require "till.util.err"
local hints = require "till.flow.live_hints"
local id = require "till.util.id"
local pricing = require "till.flow.pricing"
local reservations = require "till.store.reservations"
local sql = require "till.prim.sql"
local time = require "till.prim.time"
local unpriced = require "till.flow.cart_unpriced"

local cart_merge = {}

local ATTEMPTS = 20
local STEPS = 20 -- from cart to cart that each went into the next
local FIELDS = { "email", "billing_address" }


-- ---- one cart made of two --------------------------------------------------------------------

local function leave_out(left_out, line, quantity, reason)
  left_out[#left_out + 1] = { variant_id = line.variant_id, quantity = quantity, reason = reason }
end


local function add_line(cart, line, by_variant, left_out)
  local max, there = conf.get("cart.max_quantity"), by_variant[line.variant_id]
  if not there and #cart.lines >= conf.get("cart.max_lines") then
    return leave_out(left_out, line, line.quantity, "max_lines")
  end
  if not there then
    there = { id = id.new("line"), variant_id = line.variant_id, quantity = 0 }
    cart.lines[#cart.lines + 1] = there
    by_variant[line.variant_id] = there
  end
  local sum = there.quantity + line.quantity
  there.quantity = math.min(sum, math.max(max, there.quantity))
  if sum > there.quantity then
    leave_out(left_out, line, sum - there.quantity, "max_quantity")
  end
end


local function add_lines(cart, source, left_out)
  local by_variant, ids = {}, {}
  for _, line in ipairs(cart.lines) do by_variant[line.variant_id] = line end
  for i, line in ipairs(source.lines) do ids[i] = line.variant_id end
  local variants, e = catalog.variants(ids)
  if not variants then return nil, e end
  for _, line in ipairs(source.lines) do
    local variant = variants[line.variant_id]
    if variant and variant.sellable and pricing.has_price(variant, cart.currency) then
      add_line(cart, line, by_variant, left_out)
    else
      leave_out(left_out, line, line.quantity, "not_sold")
    end
  end
  return true
end


local function add_codes(cart, source)
  local entered = {}
  for _, code in ipairs(cart.codes) do entered[code] = true end
  for _, code in ipairs(source.codes) do
    if not entered[code] then cart.codes[#cart.codes + 1] = code end
  end
end


-- An option of shipping is good for its address.
local function add_fields(cart, source)
  for _, name in ipairs(FIELDS) do cart[name] = source[name] or cart[name] end
  if source.shipping_address then
    cart.shipping_address, cart.country = source.shipping_address, source.country
    cart.shipping_option_id = source.shipping_option_id or cart.shipping_option_id
  elseif not cart.shipping_address then
    cart.shipping_option_id = cart.shipping_option_id or source.shipping_option_id
  end
end


-- What either of them has and nobody can price keeps none of the rest from him.
local function priceable(read)
  local cart, left_out = cart_flow.copy(read), {}
  local taken, e = unpriced.take_out(cart)
  if not taken then return nil, e end
  for _, line in ipairs(taken) do leave_out(left_out, line, line.quantity, "not_sold") end
  return cart, left_out
end


local function combine(target, source)
  local cart, left_out = priceable(target)
  if not cart then return nil, left_out end
  local good, e = add_lines(cart, source, left_out)
  if not good then return nil, e end
  add_codes(cart, source)
  add_fields(cart, source)
  return cart, left_out
end


-- ---- in one transaction ----------------------------------------------------------------------

local function busy()
  return nil, err.new("busy", "the carts are changed by others at the same time")
end


-- Is it as we have seen it, now that nobody else can change it?
local function is_still(tx, who, source, target)
  local now, e = carts.current(who.customer_id, source.currency, source.id, tx)
  if now == nil then return nil, e end
  if not target then return now == false end
  return now and now.id == target.id and now.version == target.version
end


-- Rows of stock come last.
local function write(tx, who, source, cart, target)
  local good, e = carts.lock_customer(tx, who.customer_id)
  if not good then return nil, e end
  good, e = is_still(tx, who, source, target)
  if not good then return nil, e or select(2, busy()) end
  good, e = carts.save(tx, cart)
  if not good then return nil, e or select(2, busy()) end
  if not target then return true end
  good, e = carts.merged(tx, source, target.id, who.customer_id)
  if not good then return nil, e or select(2, busy()) end
  return reservations.release(tx, source.id)
end


local function save(who, source, cart, target)
  local back = carts.as_read(cart)
  local done, e = sql.transaction(function(tx)
    back()
    return write(tx, who, source, cart, target)
  end)
  if not done then return nil, e end
  cart_flow.forget(source.id)
  cart_flow.forget(cart.id)
  hints.tell { "cart:" .. source.id, "cart:" .. cart.id }
  if target and source.lines[1] then
    local ids = {}
    for i, line in ipairs(source.lines) do ids[i] = line.variant_id end
    catalog.moved(ids)
  end
  return cart
end


-- ---- which --------------------------------------------------------------------------------------

-- Where its lines went: that cart may have gone into another one since.
local function follow(who, cart)
  for _ = 1, STEPS do
    local e
    if cart.state ~= "merged" then return cart end
    cart, e = carts.get(cart.merged_into)
    if cart == nil then return nil, e end
    if not cart or cart.customer_id ~= who.customer_id then break end
  end
  return nil, err.new("not_found", "there is no such cart")
end


-- Of one that was merged already: the cart to go on with. Where its lines are an order by now, that
-- is the one that the customer has begun since.
local function again(who, source)
  local cart, e = follow(who, source)
  if not cart then return nil, e end
  if cart.state ~= "completed" then return cart, {} end
  local current, e2 = carts.current(who.customer_id)
  if current == nil then return nil, e2 end
  if current then return current, {} end
  return cart_flow.check_open(cart)
end


-- -> cart, left_out | nil, err; busy where somebody was first
local function attempt(who, cart_id)
  local source, e = cart_flow.get(who, cart_id)
  if not source then return nil, e end
  if source.state == "merged" then return again(who, source) end
  local good, e2 = cart_flow.check_open(source)
  if not good then return nil, e2 end
  local target, e3 = carts.current(who.customer_id, source.currency, source.id)
  if target == nil then return nil, e3 end
  if not target and source.customer_id == who.customer_id then return source, {} end
  local cart, left_out
  if target then cart, left_out = combine(target, source)
  else cart, left_out = priceable(source) end
  if not cart then return nil, left_out end
  cart.customer_id = who.customer_id
  local quote, e4 = cart_flow.reprice(cart)
  if not quote then return nil, e4 end
  local saved, e5 = save(who, source, cart, target or nil)
  if not saved then return nil, e5 end
  return saved, left_out
end


function cart_merge.merge(who, cart_id)
  local cart, more
  for n = 1, ATTEMPTS do
    cart, more = attempt(who, cart_id)
    if cart or not (err.is(more, "busy") or err.is(more, "deadlock")) then return cart, more end
    local slept, e = time.sleep(n + time.mono_us() % 5)
    if not slept then return nil, e end
  end
  return nil, more
end


function cart_merge.current(customer_id)
  return carts.current(customer_id)
end


return cart_merge
