-- till/http/views - values of the trade as the API shows them: money as { amount, currency },
-- null never, times RFC 3339. A view is a new table; what it is given is not changed.
--
--   views.cart(cart) priced(figures, currency) order(order)
--   views.order_head(order) product(p, opts) category(c) payment(p) fulfilment(f) cancellation(c)
--   views.refund(r) returned(c) promotion(p) customer(c) key(k) staff(s) error(e)
local json = require "till.prim.json"
local payments = require "till.store.payments"
local refund_failure = require "till.flow.refund_failure"
local render = require "till.http.render"
local states = require "till.flow.order_states"

local views = {}

local money = render.money


local function pick(from, names)
  local out = {}
  for _, name in ipairs(names) do out[name] = from[name] end
  return out
end


local function map(list, fn, currency)
  local out = {}
  for i, value in ipairs(list or {}) do out[i] = fn(value, currency) end
  return render.list(out)
end


-- Written out, as carts and orders are: a table that grows by name is made anew when it is full.
local function line_view(line, currency)
  return { id = line.id, product_id = line.product_id, variant_id = line.variant_id,
    handle = line.handle, image = line.image, sku = line.sku, title = line.title,
    quantity = line.quantity, fulfilled_quantity = line.fulfilled_quantity,
    backordered_quantity = line.backordered_quantity,
    unit_price = money(line.unit_price, currency), subtotal = money(line.subtotal, currency),
    discount_total = money(line.discount_total, currency),
    tax_total = money(line.tax_total, currency), total = money(line.total, currency) }
end


local function promotion_line(p, currency)
  return { id = p.id, code = p.code, name = p.name, reason = p.reason,
    amount = money(p.amount, currency) }
end


local function totals(out, from, currency)
  out.currency = currency
  out.subtotal = money(from.subtotal, currency)
  out.discount_total = money(from.discount_total, currency)
  out.shipping_total = money(from.shipping_total, currency)
  out.tax_total, out.total = money(from.tax_total, currency), money(from.total, currency)
  return out
end


function views.cart(cart)
  local priced, currency = cart.priced, cart.currency
  return totals({ id = cart.id, version = cart.version, state = cart.state, currency = currency,
    country = cart.country, email = cart.email, shipping_address = cart.shipping_address,
    billing_address = cart.billing_address, shipping_option_id = cart.shipping_option_id,
    customer_id = cart.customer_id, order_id = cart.order_id, merged_into = cart.merged_into,
    created_at = cart.created_at, updated_at = cart.updated_at,
    lines = map(priced.lines, line_view, currency),
    promotions = map(priced.promotions, promotion_line, currency),
    codes = render.list(cart.codes), shipping_label = priced.shipping_label,
    prices_include_tax = priced.prices_include_tax }, priced, currency)
end


--- Figures that belong to no cart.
function views.priced(priced, currency)
  return totals({ lines = map(priced.lines, line_view, currency),
    promotions = map(priced.promotions, promotion_line, currency) }, priced, currency)
end


local function order_line(line, currency)
  local out = line_view(line, currency)
  out.cancelled_quantity = line.cancelled_quantity
  out.returned_quantity = line.returned_quantity
  out.fulfilment_status = states.of_line(line)
  return out
end


function views.fulfilment(f)
  local out = pick(f, { "id", "status", "tracking_number", "carrier", "created_at" })
  out.lines = render.list(f.lines)
  return out
end


function views.cancellation(c)
  local out = pick(c, { "id", "state", "whole", "money", "reason", "actor", "payment_id",
    "created_at", "done_at" })
  out.amount = money(c.amount, c.currency)
  out.released_amount = money(c.released_amount, c.currency)
  out.lines = map(c.lines, function(line)
    return { line_id = line.line_id, quantity = line.quantity,
      amount = money(line.amount, c.currency) }
  end)
  out.shipping = c.shipping and money(c.shipping.amount, c.currency) or nil
  out.failure = refund_failure.shown(c)
  out.parts = c.parts and map(c.parts, function(part)
    return { payment_id = part.payment_id, state = part.state, money = part.money,
      amount = money(part.amount, c.currency), failure = refund_failure.shown(part) }
  end) or nil
  return out
end


--- A return: what a cancellation has, and where its units went.
function views.returned(c)
  local out = views.cancellation(c)
  for i, line in ipairs(c.lines) do out.lines[i].restocked = render.list(line.stock) end
  return out
end


--- What staff asked for apart from cancellations and returns.
function views.refund(r)
  local out = pick(r, { "id", "order_id", "state", "reason", "requested_by", "decided_by",
    "decided_at", "answer", "created_at" })
  out.expires_at = r.state == "requested" and r.expires_at or nil
  out.amount = money(r.amount, r.currency)
  out.lines = r.wish.lines and render.list(r.wish.lines) or nil
  out.shipping = r.wish.shipping
  return out
end


function views.order_head(order)
  return totals({ id = order.id, number = order.number, status = order.status,
    payment_status = order.payment_status, fulfilment_status = order.fulfilment_status,
    return_status = order.return_status, email = order.email, customer_id = order.customer_id,
    external_ref = order.external_ref, version = order.version, placed_at = order.placed_at,
    updated_at = order.updated_at }, order, order.currency)
end


function views.order(order)
  local out = views.order_head(order)
  for _, name in ipairs { "shipping_address", "billing_address", "shipping_option_id",
    "shipping_label", "generation", "cart_id" } do out[name] = order[name] end
  out.lines = map(order.lines, order_line, order.currency)
  out.promotions = map(order.promotions, promotion_line, order.currency)
  out.fulfilments = map(order.fulfilments, views.fulfilment)
  return out
end


-- The lowest base price of the currency is what a list shows.
local function price_in(variant, currency)
  local base, sale
  for _, p in ipairs(variant.prices) do
    if p.currency == currency and p.min_qty == 1 and not p.customer_group and not p.starts_at
      and not p.ends_at then
      if p.kind == "sale" then sale = math.min(sale or p.amount, p.amount)
      else base = math.min(base or p.amount, p.amount) end
    end
  end
  if sale and base and sale < base then return sale, base end
  return base
end


-- What a shopper can have of it: units that are there, else a promise, else nothing.
local function show_offer(out, offer)
  out.available, out.in_stock = offer.available, offer.available > 0
  if out.in_stock then
    out.availability = "available"
  elseif offer.more > 0 then
    out.availability = offer.policy
  else
    out.availability = "sold_out"
  end
  if offer.more > 0 then out.more, out.available_at = offer.more, offer.available_at end
end


local function public_variant(v, opts)
  local amount, was = price_in(v, opts.currency)
  local out = pick(v, { "id", "sku", "title", "weight_g" })
  out.options = v.options
  out.parts = v.parts
  out.price = money(amount, opts.currency)
  out.compare_at_price = money(was, opts.currency)
  if opts.offers then show_offer(out, opts.offers[v.id]) end
  return out
end


local function admin_variant(v, opts)
  local out = pick(v, { "id", "sku", "title", "weight_g", "position", "external_ref", "archived" })
  out.options = v.options
  out.prices = map(v.prices, function(p)
    local price = pick(p, { "list", "kind", "customer_group", "min_qty", "starts_at", "ends_at" })
    price.price = money(p.amount, p.currency)
    return price
  end)
  if opts.offers then show_offer(out, opts.offers[v.id]) end
  out.parts = v.parts
  return out
end


local function head_of(p)
  local out = pick(p, { "id", "handle", "title", "description", "image", "version", "created_at",
    "updated_at" })
  out.tags, out.options = render.list(p.tags), render.list(p.options)
  out.categories = map(p.categories, function(c) return pick(c, { "id", "handle", "title" }) end)
  return out
end


local function lowest(variants)
  local price
  for _, v in ipairs(variants) do
    if v.price and (not price or v.price.amount < price.amount) then price = v.price end
  end
  return price
end


--- opts: currency, offers (variant id -> till.store.offers), admin.
function views.product(p, opts)
  local out = head_of(p)
  local variants = {}
  for _, v in ipairs(p.variants) do
    if opts.admin then
      variants[#variants + 1] = admin_variant(v, opts)
    elseif not v.archived then
      variants[#variants + 1] = public_variant(v, opts)
    end
  end
  out.variants = render.list(variants)
  if opts.admin then
    out.status, out.tax_class, out.external_ref = p.status, p.tax_class, p.external_ref
  else
    out.price = lowest(variants)
  end
  return out
end


function views.category(c)
  return pick(c, { "id", "parent_id", "handle", "title", "position", "version", "created_at",
    "updated_at" })
end


--- Every category with its children below it.
function views.category_tree(list)
  local by_id, top = {}, {}
  for _, c in ipairs(list) do
    by_id[c.id] = views.category(c)
    by_id[c.id].children = {}
  end
  for _, c in ipairs(list) do
    local parent = c.parent_id and by_id[c.parent_id]
    local siblings = parent and parent.children or top
    siblings[#siblings + 1] = by_id[c.id]
  end
  for _, c in pairs(by_id) do render.list(c.children) end
  return render.list(top)
end


function views.payment(p)
  local out = pick(p, { "id", "order_id", "cart_id", "provider", "state", "provider_ref", "reason",
    "action", "expires_at", "created_at", "updated_at" })
  for _, name in ipairs { "amount", "released_amount", "capture_amount", "refunded_amount" } do
    out[name] = money(p[name], p.currency)
  end
  out.authorization_expires_at = payments.left(p) > 0 and p.authorization_expires_at or nil
  out.left_amount = money(payments.left(p), p.currency)
  return out
end


function views.capture(c, currency)
  local out = pick(c, { "id", "state", "final", "reason", "created_at", "done_at" })
  out.amount = money(c.amount, currency)
  return out
end


--- What the shopper may know of it.
function views.payment_session(p)
  local out = pick(p, { "id", "provider", "state", "action", "expires_at" })
  out.amount = money(p.amount, p.currency)
  return out
end


--- What may be shown of it: never the token.
function views.saved_method(m)
  return pick(m, { "id", "provider", "brand", "last4", "exp_month", "exp_year", "created_at" })
end


function views.promotion(p)
  return pick(p, { "id", "code", "name", "terms", "status", "usage_limit", "per_customer_limit",
    "used", "starts_at", "ends_at", "version", "created_at", "updated_at" })
end


function views.customer(c)
  return pick(c, { "id", "email", "first_name", "last_name", "phone", "group", "created_at" })
end


function views.key(k)
  local out = pick(k, { "id", "kind", "name", "hint", "reservation_minutes", "hold_minutes",
    "created_at", "revoked_at" })
  out.roles = render.list(k.roles)
  return out
end


function views.staff(s)
  local out = pick(s, { "id", "email", "name", "disabled_at", "created_at" })
  out.roles = render.list(s.roles)
  return out
end


-- Of ids the prefix says who it is; before the colon of others stands the kind.
local KINDS = { cus = "shopper", staff = "person", key = "key" }


function views.event(e)
  local prefix = e.actor:match("^(%l+)_") or e.actor:match("^(%l+):")
  return { type = e.type, actor = e.actor, actor_kind = KINDS[prefix] or prefix or e.actor,
    data = e.data or json.null, at = e.at }
end


--- The refusal beside a cart that is given back.
function views.error(e)
  return { code = e.code, title = e.title, detail = e.message, action = e.action,
    reason = e.reason, sku = e.sku, available = e.available, payment_id = e.payment_id }
end


return views
