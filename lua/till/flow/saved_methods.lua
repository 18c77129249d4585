-- till/flow/saved_methods - ways to pay that a provider keeps for a customer, for the next time.
--
--   are_kept(provider) -> boolean    can it (capability `saved_methods`), and are any kept here?
--   check(cart, provider, data) -> true | nil, err    may a payment be begun so?
--   add_to(request, p)    -> true | nil, err    before a provider is asked: `request.saved` is the
--                            method to pay with, `request.customer` whose is to be kept
--   keep(p, saved)           what the provider says that it has kept; a failure is only logged,
--                            for the payment stands without it
--   list(customer_id)     -> methods | nil, err
--   delete(ctx, id)       -> true | nil, err          hidden at once; the provider forgets it later
--   forget(payload)       -> true | nil, err          the job of that
--   reseal(method)        -> true | false | nil, err  by the current key of the vault; false: it is
--
-- The client names a method by our id (`data.saved_method`) or asks for one to be kept
-- (`data.save`). Whose it is says the cart, each time anew; nothing in `data` is believed. The
-- token is opened for the request alone: it stands in no payment and no log.
local capabilities = require "till.flow.capabilities"
local db = require "till.store.db"
local dispatch = require "till.plugin.dispatch"
local err = require "till.util.err"
local id = require "till.util.id"
local json = require "till.prim.json"
local log = require "till.prim.log"
local outbox = require "till.prim.outbox"
local sql = require "till.prim.sql"
local store = require "till.store.saved_methods"
local vault = require "till.prim.vault"

local saved_methods = {}

local TABLE, COLUMN, INDEX = "saved_payment_methods", "sealed", "saved_payment_methods.token"


local function place(method_id)
  return { table = TABLE, row = method_id, column = COLUMN }
end


local function concerns(data)
  return type(data) == "table" and (data.saved_method ~= nil or data.save ~= nil)
end


local function refuse(pointer, detail)
  return nil, err.new("rejected", detail, { public = true,
    errors = { { pointer = "/data/" .. pointer, detail = detail, code = "rejected" } } })
end


local function can(provider)
  return capabilities.can(provider, "saved_methods")
end


-- Without keys of the vault there is no index.
function saved_methods.are_kept(provider)
  return can(provider) and vault.index(INDEX, "") ~= nil
end


function saved_methods.check(cart, provider, data)
  if not concerns(data) then return true end
  local what = data.saved_method ~= nil and "saved_method" or "save"
  if what == "save" and type(data.save) ~= "boolean" then
    return refuse(what, "save is true or false")
  elseif what == "save" and not data.save then
    return true
  elseif not can(provider) then
    return refuse(what, provider .. " keeps no payment methods")
  elseif not cart.customer_id then
    return refuse(what, "log in first: payment methods are kept for customers")
  elseif what == "save" then
    if saved_methods.are_kept(provider) then return true end
    return refuse(what, "this shop keeps no payment methods")
  end
  local method = false
  if type(data.saved_method) == "string" and id.valid("pmt", data.saved_method) then
    local e
    method, e = store.get(cart.customer_id, data.saved_method)
    if method == nil then return nil, e end
  end
  if method and method.provider == provider then return true end
  return refuse(what, "there is no such saved payment method")
end


local function opened(method)
  local text, e = vault.open(place(method.id), method.sealed)
  if not text then return nil, e end
  return json.decode(text)
end


-- An order outlives its cart (till.store.retention).
local function owner_of(cart_id)
  local bin = db.bin("cart", cart_id)
  local row, e = sql.one("SELECT customer_id FROM carts WHERE id = ? UNION ALL"
    .. " SELECT customer_id FROM orders WHERE cart_id = ? LIMIT 1", bin, bin)
  if not row then return row, e end
  return row.customer_id and id.text("cus", row.customer_id) or false
end


local function to_save(request, p, customer_id)
  local list, e = store.list(customer_id, p.provider)
  if not list then return nil, e end
  request.customer = { id = customer_id }
  local known = list[1] and opened(list[1])
  if known then request.customer.ref = known.customer end
  return true
end


function saved_methods.add_to(request, p)
  local data = request.data
  if not concerns(data) or not can(p.provider) then return true end
  local customer_id, e = owner_of(p.cart_id)
  if customer_id == nil then return nil, e end
  if not customer_id then return true end
  if data.saved_method == nil then
    return data.save ~= true or to_save(request, p, customer_id)
  end
  local is_id = type(data.saved_method) == "string" and id.valid("pmt", data.saved_method)
  local method, e2 = false, nil
  if is_id then method, e2 = store.get(customer_id, data.saved_method) end
  if not method then return method == false or nil, e2 end
  if method.provider == p.provider then
    request.saved, e2 = opened(method)
    if not request.saved then return nil, e2 end
  end
  return true
end


local function text(v, max)
  return type(v) == "string" and #v <= max and v or nil
end


local function number(v, max)
  return type(v) == "number" and v >= 0 and v <= max and v % 1 == 0 and v or nil
end


--- Written before the payment's own state: who dies between asks the provider again.
local function keep(p, saved)
  if not text(saved.method, 255) or not text(saved.customer, 255) then return true end
  local customer_id, e = owner_of(p.cart_id)
  if not customer_id then return customer_id == false or nil, e end
  local method_id = id.new("pmt")
  local index, e2 = vault.index(INDEX, p.provider .. " " .. saved.method)
  if not index then return nil, e2 end
  local sealed, e3 = vault.seal(place(method_id),
    json.encode { method = saved.method, customer = saved.customer })
  if not sealed then return nil, e3 end
  return store.add { id = method_id, customer_id = customer_id, provider = p.provider,
    token_index = index, sealed = sealed, brand = text(saved.brand, 32),
    last4 = text(saved.last4, 4), exp_month = number(saved.exp_month, 12),
    exp_year = number(saved.exp_year, 9999) }
end


function saved_methods.keep(p, saved)
  if not can(p.provider) then return end
  local kept, e = keep(p, saved)
  if kept then return end
  log.warn("payment.method_not_kept", { payment = p.id, error = tostring(e) })
end


saved_methods.list = store.list


function saved_methods.delete(ctx, method_id)
  return sql.transaction(function(tx)
    local was, e = store.hide(tx, ctx.auth.customer_id, method_id)
    if was == nil then return nil, e end
    if not was then return nil, err.new("not_found", "there is no such saved payment method") end
    return outbox.append(tx, { { aggregate = "saved_method:" .. method_id,
      type = "payment.forget", payload = { method_id = method_id } } })
  end)
end


function saved_methods.forget(payload)
  local method, e = store.hidden(payload.method_id)
  if not method then return method == false or nil, e end
  local about, e2 = opened(method)
  if not about then return nil, e2 end
  local answer, e3 = dispatch.plugin("payment-" .. method.provider, "payment.forget", about)
  if not answer then return nil, e3 end
  if answer.outcome ~= "forgotten" then
    return nil, err.new("unavailable", "the provider has not forgotten it yet")
  end
  log.info("payment.method_forgotten", { id = method.id, provider = method.provider })
  return store.remove(method.id)
end


function saved_methods.reseal(method)
  local is_current, e = vault.is_current(method.sealed)
  if is_current == nil then return nil, e end
  if is_current then return false end
  local about, e2 = opened(method)
  if not about then return nil, e2 end
  local index, e3 = vault.index(INDEX, method.provider .. " " .. about.method)
  if not index then return nil, e3 end
  local sealed, e4 = vault.reseal(place(method.id), method.sealed)
  if not sealed then return nil, e4 end
  return store.reseal(method, sealed, index)
end


return saved_methods
