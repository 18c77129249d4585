-- till/store/live - what the streams of this worker watch, read in one statement each, however much
-- it is: the ids travel as one parameter.
--
--   heads(cart_ids)   -> { cart id -> { version, state, owner } } | nil, err
--   held(cart_ids)    -> { cart id -> { variant id -> units } } | nil, err: reserved for the cart;
--                     of a bundle as many as all its parts make
--   names(variant_ids) -> { variant id -> sku } | nil, err
--   sold(skus)        -> { sku -> variant id } | nil, err: of what anybody may buy; what is not out
--                     yet, or not sold any more, is nobody's business
--   owner(cart)       -> whose it is: of a customer, or of the key that it was begun with
local crypto = require "till.prim.crypto"
local db = require "till.store.db"
local id = require "till.util.id"
local json = require "till.prim.json"
local sql = require "till.prim.sql"

local live = {}

local IDS = "JSON_TABLE(?, '$[*]' COLUMNS (h CHAR(32) CHARACTER SET ascii PATH '$')) j"


local function packed(prefix, ids)
  local out = {}
  for i, text in ipairs(ids) do out[i] = crypto.hex(id.bin(prefix, text)) end
  return json.encode(json.array(out))
end


function live.owner(cart)
  return cart.customer_id or cart.key_id or ""
end


function live.heads(cart_ids)
  if #cart_ids == 0 then return {} end
  local rows, e = sql.query("SELECT c.id, c.version, c.state, c.customer_id, c.key_id FROM " .. IDS
    .. " STRAIGHT_JOIN carts c ON c.id = UNHEX(j.h)", packed("cart", cart_ids))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do
    out[id.text("cart", row.id)] = { version = row.version, state = row.state,
      owner = row.customer_id and id.text("cus", row.customer_id)
        or row.key_id and id.text("key", row.key_id) or "" }
  end
  return out
end


function live.held(cart_ids)
  if #cart_ids == 0 then return {} end
  local rows, e = sql.query("SELECT r.cart_id, COALESCE(r.bundle_id, r.variant_id) AS line_of,"
    .. " CAST(FLOOR(SUM(r.quantity) / MAX(r.per_unit)) AS SIGNED) AS units FROM " .. IDS
    .. " STRAIGHT_JOIN reservations r ON r.cart_id = UNHEX(j.h) AND r.state = 'held'"
    .. " GROUP BY r.cart_id, r.bundle_id, r.variant_id", packed("cart", cart_ids))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do
    local cart_id, variant_id = id.text("cart", row.cart_id), id.text("var", row.line_of)
    out[cart_id] = out[cart_id] or {}
    out[cart_id][variant_id] = math.min(out[cart_id][variant_id] or row.units, row.units)
  end
  return out
end


function live.names(variant_ids)
  if #variant_ids == 0 then return {} end
  local rows, e = sql.query("SELECT v.id, v.sku FROM " .. IDS
    .. " STRAIGHT_JOIN variants v ON v.id = UNHEX(j.h)", packed("var", variant_ids))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[id.text("var", row.id)] = row.sku end
  return out
end


function live.sold(skus)
  local out, args = {}, db.padded({ unpack(skus) })
  if #args == 0 then return out end
  local rows, e = sql.query("SELECT v.sku, v.id FROM variants v JOIN products p"
    .. " ON p.id = v.product_id WHERE v.sku IN (" .. sql.marks(#args) .. ")"
    .. " AND v.archived_at IS NULL AND p.status = 'active'", unpack(args))
  if not rows then return nil, e end
  for _, row in ipairs(rows) do out[row.sku] = id.text("var", row.id) end
  return out
end


return live
