-- till/store/bundles - variants that consist of others. A bundle has no stock of its own: its parts
-- are reserved and sold together or not at all (till.store.stock).
--
--   set(tx, variant_id, parts) -> product id | nil, err     parts { variant_id, quantity }; none:
--                                 it is a bundle no more
--
-- Bundles of bundles are refused. What carts hold already keeps the parts that it has; the next
-- pricing of a cart takes the new ones.
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local bundles = {}


local function refuse(i, detail)
  return nil, err.new("invalid_request", detail, { errors = {
    { pointer = i and ("/parts/%d/variant_id"):format(i - 1) or "/parts", detail = detail,
      code = "part" } } })
end


-- All of them locked in one order: two bundles that take each other in at once see each other.
local function lock(tx, variant_id, parts)
  local ids = { variant_id }
  for i, part in ipairs(parts) do ids[i + 1] = part.variant_id end
  local bins = db.bins("var", ids)
  local rows, e = tx:query("SELECT v.id, v.product_id, EXISTS (SELECT 1 FROM bundle_parts p"
    .. " WHERE p.bundle_id = v.id) AS is_bundle, EXISTS (SELECT 1 FROM bundle_parts p"
    .. " WHERE p.variant_id = v.id) AS is_part FROM variants v WHERE v.id IN ("
    .. sql.marks(#bins) .. ") ORDER BY v.id FOR UPDATE", unpack(bins))
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do out[id.text("var", row.id)] = row end
  return out
end


local function check_parts(variant_id, parts, known)
  local seen = { [variant_id] = "a bundle is no part of itself" }
  for i, part in ipairs(parts) do
    local row = known[part.variant_id]
    if seen[part.variant_id] then return refuse(i, seen[part.variant_id]) end
    if not row then return refuse(i, "there is no such variant") end
    if row.is_bundle == 1 then return refuse(i, "is a bundle itself; name its parts") end
    seen[part.variant_id] = "stands there twice; give its quantity"
  end
  return true
end


-- Its own units would be sold by nobody.
local function check_own(tx, variant_bin)
  local row, e = tx:one("SELECT EXISTS (SELECT 1 FROM stock WHERE variant_id = ?"
    .. " AND (on_hand > 0 OR reserved > 0)) AS has_stock, EXISTS (SELECT 1 FROM backorders"
    .. " WHERE variant_id = ? AND (promised > 0 OR policy <> 'deny')) AS has_policy", variant_bin,
    variant_bin)
  if not row then return nil, e end
  if row.has_stock == 1 then
    return nil, err.new("conflict", "it has stock of its own; put that to 0 first")
  elseif row.has_policy == 1 then
    return nil, err.new("conflict", "it has a backorder policy of its own; deny it first")
  end
  return true
end


function bundles.set(tx, variant_id, parts)
  local known, e = lock(tx, variant_id, parts)
  if not known then return nil, e end
  local own, bin = known[variant_id], db.bin("var", variant_id)
  if not own then return nil, err.new("not_found", "there is no such variant") end
  local ok, e2 = check_parts(variant_id, parts, known)
  if ok and #parts > 0 and own.is_part == 1 then
    return refuse(nil, "it is a part of a bundle: bundles of bundles are not sold")
  end
  if ok and #parts > 0 then ok, e2 = check_own(tx, bin) end
  if ok then ok, e2 = tx:exec("DELETE FROM bundle_parts WHERE bundle_id = ?", bin) end
  for _, part in ipairs(parts) do
    if ok then
      ok, e2 = tx:exec("INSERT INTO bundle_parts (bundle_id, variant_id, quantity)"
        .. " VALUES (?, ?, ?)", bin, db.bin("var", part.variant_id), part.quantity)
    end
  end
  if ok then
    ok, e2 = tx:exec("UPDATE products SET version = version + 1 WHERE id = ?",
      sql.bytes(own.product_id))
  end
  if not ok then return nil, e2 end
  return id.text("prod", own.product_id)
end


return bundles
