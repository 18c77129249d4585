-- till/http/admin_api/rule_trials - what a rule would do to a cart, for staff. Nothing is written.
local carts = require "till.store.carts"
local err = require "till.util.err"
local json = require "till.prim.json"
local pricing = require "till.flow.pricing"
local render = require "till.http.render"
local route = require "till.http.route"
local rule_try = require "till.flow.rule_try"
local rules = require "till.flow.rules"
local s = require "till.util.schema"
local shape = require "till.http.admin_api.rule_shape"
local time = require "till.prim.time"
local views = require "till.http.views"

local COUNT = s.integer { min = 1, max = 1000000 }
local TEXT = s.string { min = 1, max = 191 }

local line = s.object({ variant_id = s.id("var"), sku = TEXT, quantity = COUNT,
  unit_price = s.integer { min = 0, max = 1000000000000,
    doc = "Minor units: of a product that need not be there." },
  title = TEXT, tags = s.array(TEXT, { max = 100 }), tax_class = s.string { min = 1, max = 64 },
  weight_g = s.integer { min = 0, max = 1000000000 } }, { required = { "quantity" } })

local CART = s.object({ currency = s.string { format = "currency" },
  country = s.string { format = "country" }, codes = s.array(TEXT, { max = 50 }),
  customer_group = s.string { min = 1, max = 64 }, signed_in = s.boolean {},
  lines = s.array(line, { min = 1, max = 200 }) }, { required = { "lines" }, name = "TrialCart" })
local CART_ID, AT = s.id("cart"), s.string { format = "date-time", doc = "Priced as of then." }


local function existing(cart_id)
  local cart, e = carts.get(cart_id)
  if cart == nil then return nil, e end
  if cart then return cart, {} end
  return nil, err.new("invalid_request", "there is no such cart", { errors = {
    { pointer = "/cart_id", detail = "there is no such cart", code = "unknown" } } })
end


local function cart_of(body)
  if (body.cart ~= nil) == (body.cart_id ~= nil) then
    return nil, err.new("invalid_request", "give cart or cart_id", { errors = {
      { pointer = "/cart", detail = "give cart or cart_id, one of them", code = "required" } } })
  end
  if body.cart_id then return existing(body.cart_id) end
  local defaults = pricing.defaults()
  body.cart.currency = body.cart.currency or defaults.currency
  body.cart.country = body.cart.country or defaults.country
  return rule_try.cart(body.cart)
end


local function priced(cart, figures)
  return views.priced(figures, cart.currency)
end


local function report(ctx, rule, cart, done)
  return ctx:json(200, { trial = {
    applies = done.unmet == nil, unmet = done.unmet, answer = done.answer or json.null,
    failure = done.failure and { code = done.failure.code, detail = done.failure.message,
      line = done.failure.line, column = done.failure.column } or nil,
    us = done.us, fuel = done.fuel, hash = rule.hash, without = priced(cart, done.without),
    with = priced(cart, done.with), difference = render.money(done.difference, cart.currency) } })
end


local function run(ctx, rule)
  local cart, opts = cart_of(ctx.body)
  if not cart then return nil, opts end
  opts.at = ctx.body.at and time.rfc3339(time.parse(ctx.body.at))
  local done, e = rule_try.run(rule, cart, opts)
  if not done then return nil, e end
  return report(ctx, rule, cart, done)
end


local function saved(ctx)
  local rule, e = rules.find(ctx.params.id)
  if not rule then return nil, e end
  local version, e2 = rules.find_version(rule, ctx.body.version or rule.version)
  if not version then return nil, e2 end
  return run(ctx, rules.made(rules.draft(rule, version, {}), version.number))
end


local function unsaved(ctx)
  local ok, e = rules.check(ctx.body.rule)
  if not ok then
    for _, one in ipairs(e.errors or {}) do one.pointer = "/rule" .. one.pointer end
    return nil, e
  end
  return run(ctx, rules.made(ctx.body.rule))
end


local RETURNS = { [200] = s.object({ trial = s.any {} }, { required = { "trial" } }) }

return {
  route.post("/admin/v1/rules/try", { summary = "Try a rule that is not saved on a cart",
    tag = "rules", auth = "admin", permission = "rules.write",
    body = s.object({ rule = shape.checked, cart = CART, cart_id = CART_ID, at = AT },
      { required = { "rule" } }), returns = RETURNS, handler = unsaved }),
  route.post("/admin/v1/rules/{id}/try", { summary = "Try a version of a rule on a cart",
    tag = "rules", auth = "admin", permission = "rules.write", params = { id = s.id("rule") },
    body = s.object { version = s.integer { min = 1, max = 4000000000 }, cart = CART,
      cart_id = CART_ID, at = AT }, returns = RETURNS, handler = saved }),
}
