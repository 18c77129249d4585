-- till/store/backorders - what may be sold of a SKU before it is there, and how much of it is.
--
--   get(sku [, tx]) -> { sku, variant_id, policy, limit, promised, available_at }
--                      | false | nil, err
--   set(tx, sku, { policy, limit, available_at }) -> the same | nil, err
--
-- policy: deny (as long as nothing is set), backorder, preorder. limit: units that may be promised
-- at a time, held by carts or sold; it holds for new promises at once, and it cannot be set below
-- what is promised already. Denied is denied: then no limit counts.
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local backorders = {}


function backorders.get(sku, tx)
  local row, e = db.on(tx):one("SELECT v.id, COALESCE(b.policy, 'deny') AS policy,"
    .. " COALESCE(b.unit_limit, 0) AS unit_limit, COALESCE(b.promised, 0) AS promised,"
    .. " b.available_at FROM variants v LEFT JOIN backorders b ON b.variant_id = v.id"
    .. " WHERE v.sku = ?", sku)
  if not row then return row, e end
  return { sku = sku, variant_id = id.text("var", row.id), policy = row.policy,
    limit = row.unit_limit, promised = row.promised, available_at = row.available_at }
end


-- A bundle is promised by its parts.
local function check(tx, variant_bin, fields)
  local row, e = tx:one("SELECT b.promised, EXISTS (SELECT 1 FROM bundle_parts p"
    .. " WHERE p.bundle_id = b.variant_id) AS is_bundle FROM backorders b WHERE b.variant_id = ?"
    .. " FOR UPDATE", variant_bin)
  if not row then return nil, e end
  if row.is_bundle == 1 and fields.policy ~= "deny" then
    return nil, err.new("conflict", "a bundle has no policy of its own: set it for its parts")
  elseif fields.policy ~= "deny" and row.promised > fields.limit then
    return nil, err.new("conflict", ("%d are promised already: the limit cannot be %d")
      :format(row.promised, fields.limit))
  end
  return true
end


function backorders.set(tx, sku, fields)
  local variant, e = tx:one("SELECT id FROM variants WHERE sku = ? FOR UPDATE", sku)
  if variant == false then
    return nil, err.new("not_found", "there is no variant with this SKU")
  end
  if not variant then return nil, e end
  local bin = sql.bytes(variant.id)
  local ok, e2 = tx:exec("INSERT IGNORE INTO backorders (variant_id) VALUES (?)", bin)
  if ok then ok, e2 = check(tx, bin, fields) end
  if ok then
    ok, e2 = tx:exec("UPDATE backorders SET policy = ?, unit_limit = ?, available_at = ?,"
      .. " version = version + 1 WHERE variant_id = ?", fields.policy, fields.limit or 0,
      db.at(fields.available_at), bin)
  end
  if not ok then return nil, e2 end
  return backorders.get(sku, tx)
end


return backorders
