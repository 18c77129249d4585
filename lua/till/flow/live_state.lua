-- till/flow/live_state - what a stream is told of a cart or of a product's stock, and its tag.
--
--   of_cart(cart, free, held) -> state      free: { variant id -> units for sale }; held: the same
--                      of what is reserved for this cart, which it has for itself; nil: nothing
--   is_short(lines, free) -> does it want more of something than is for sale?
--   tag_of(head, lines, free, held) -> tag;  head_of(cart) -> its part that stock does not touch
--   changes(before, tag) -> sum of till.prim.live's changes; before "" is not known: all of them
--   of_stock(variant_id, sku, units) -> state
--
-- state: { topic, owner, tag, json }. The tag of a cart holds its version and state and a digest of
-- each part, so that two tags say what has changed, whichever worker and generation made them.
local crypto = require "till.prim.crypto"
local json = require "till.prim.json"
local live = require "till.prim.live"
local live_store = require "till.store.live"

local live_state = {}

local CHANGES = live.changes
local PARTS = { "version", "state", "lines", "promotions", "details", "totals", "availability" }
local DETAILS = { "email", "country", "shipping_address", "billing_address", "shipping_option_id",
  "customer_id" }
local TOTALS = { "subtotal", "discount_total", "shipping_total", "tax_total", "total" }
local DIGEST = 8


local function digest(value)
  return crypto.hex(crypto.sha256(json.encode(value))):sub(1, DIGEST)
end


local function pick(from, names)
  local out = {}
  for i, name in ipairs(names) do out[i] = from[name] or json.null end
  return json.array(out)
end


local function availability(line, free, held)
  local units = (free[line.variant_id] or 0) + (held and held[line.variant_id] or 0)
  if units >= line.quantity then return "in_stock" end
  return units > 0 and "short" or "out_of_stock"
end


function live_state.is_short(lines, free)
  for _, line in ipairs(lines) do
    if (free[line.variant_id] or 0) < line.quantity then return true end
  end
  return false
end


function live_state.head_of(cart)
  local lines, priced = {}, cart.priced
  for i, line in ipairs(cart.lines) do
    lines[i] = line.id .. " " .. line.variant_id .. " " .. line.quantity
  end
  return table.concat({ ("%d"):format(cart.version), cart.state, digest(json.array(lines)),
    digest(json.array { json.array(cart.codes), json.array(priced.promotions) }),
    digest(pick(cart, DETAILS)), digest(pick(priced, TOTALS)) }, ".")
end


function live_state.tag_of(head, lines, free, held)
  local letters = {}
  for i, line in ipairs(lines) do letters[i] = availability(line, free, held):sub(1, 1) end
  local text = table.concat(letters)
  return head .. "." .. (#text > DIGEST and digest(text) or text)
end


function live_state.changes(before, tag)
  local old, sum, i = {}, 0, 0
  for part in before:gmatch("[^.]+") do old[#old + 1] = part end
  for part in tag:gmatch("[^.]+") do
    i = i + 1
    local bit = CHANGES[PARTS[i]]
    if bit and old[i] ~= part then sum = sum + bit end
  end
  return sum
end


local function line_view(cart, free, held)
  local out = {}
  for i, line in ipairs(cart.priced.lines) do
    out[i] = { id = line.id, variant_id = line.variant_id, sku = line.sku, title = line.title,
      quantity = line.quantity, availability = availability(line, free, held) }
  end
  return json.array(out)
end


function live_state.of_cart(cart, free, held)
  local head = live_state.head_of(cart)
  return { topic = "cart:" .. cart.id, owner = live_store.owner(cart),
    tag = live_state.tag_of(head, cart.lines, free, held),
    json = json.encode { cart = { id = cart.id, version = cart.version, state = cart.state,
      order_id = cart.order_id, merged_into = cart.merged_into,
      total = { amount = cart.priced.total, currency = cart.currency },
      lines = line_view(cart, free, held) } } }
end


function live_state.of_stock(variant_id, sku, units)
  local class = units > 0 and "in_stock" or "out_of_stock"
  return { topic = "stock:" .. variant_id, owner = "", tag = class,
    json = json.encode { stock = { variant_id = variant_id, sku = sku, availability = class } } }
end


return live_state
