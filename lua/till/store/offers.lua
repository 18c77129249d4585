-- till/store/offers - what of a variant can be bought: at enabled locations, and by its policy.
--
--   offers.load(variant_ids [, tx]) -> { variant id -> offer } | nil, err
--   offers.of_units(tx, variant) -> units that could be had at most; variant in bytes
--
-- An offer: available (units that are there), more (units that may be promised besides), policy
-- (deny | backorder | preorder), available_at (of a preorder), is_bundle, version (another one:
-- something of it may have changed; it only grows, but for a bundle whose parts are changed). A
-- bundle's are those of its parts: as many as of the one there is least of.
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local offers = {}


-- The same columns of a variant and of each part of a bundle.
local COLUMNS = "CAST(COALESCE(SUM(IF(l.enabled = 1, s.on_hand - s.reserved, 0)), 0) AS SIGNED)"
  .. " AS free, MAX(COALESCE(b.policy, 'deny')) AS policy, MAX(IF(b.policy <> 'deny',"
  .. " b.unit_limit - b.promised, 0)) AS more, MAX(b.available_at) AS available_at,"
  .. " CAST(COALESCE(SUM(s.version), 0) + COALESCE(MAX(b.version), 0) AS SIGNED) AS version"
local JOINS = " LEFT JOIN stock s ON s.variant_id = %s LEFT JOIN locations l"
  .. " ON l.id = s.location_id LEFT JOIN backorders b ON b.variant_id = %s"

local ONE = "SELECT v.id, 0 AS quantity, " .. COLUMNS .. " FROM variants v"
  .. JOINS:gsub("%%s", "v.id") .. " WHERE v.id IN (%s) GROUP BY v.id"
local PARTS = "SELECT p.bundle_id AS id, p.quantity, " .. COLUMNS .. " FROM bundle_parts p"
  .. JOINS:gsub("%%s", "p.variant_id") .. " WHERE p.bundle_id IN (%s)"
  .. " GROUP BY p.bundle_id, p.variant_id, p.quantity"


local function of_variant(row)
  return { available = row.free, more = row.more, policy = row.policy,
    available_at = row.policy == "preorder" and row.available_at or nil, version = row.version }
end


local function each(row, units)
  return math.floor(units / row.quantity)
end


-- What there is least of says whether it can be promised, and for when.
local function of_bundle(rows)
  local available, all, version = math.huge, math.huge, 0
  for _, row in ipairs(rows) do
    version = version + row.version
    available = math.min(available, each(row, row.free))
    all = math.min(all, each(row, row.free + row.more))
  end
  local out = { available = available, more = all - available, policy = "deny",
    version = version, is_bundle = true }
  for _, row in ipairs(rows) do
    if out.more > 0 and each(row, row.free) == available and out.policy ~= "preorder" then
      out.policy, out.available_at = row.policy, of_variant(row).available_at
    end
  end
  return out
end


function offers.load(variant_ids, tx)
  local out, bins = {}, db.bins("var", variant_ids)
  if #bins == 0 then return out end
  local marks, args = sql.marks(#bins), {}
  for i, bin in ipairs(bins) do args[i], args[i + #bins] = bin, bin end
  local rows, e = db.on(tx):query(ONE:format(marks) .. " UNION ALL "
    .. PARTS:format(marks), unpack(args))
  if not rows then return nil, e end
  local parts = {}
  for _, variant_id in ipairs(variant_ids) do
    out[variant_id] = { available = 0, more = 0, policy = "deny", version = 0 }
  end
  for _, row in ipairs(rows) do
    local key = id.text("var", row.id)
    if row.quantity == 0 then
      out[key] = of_variant(row)
    else
      parts[key] = parts[key] or {}
      table.insert(parts[key], row)
    end
  end
  for key, of in pairs(parts) do out[key] = of_bundle(of) end
  return out
end


function offers.of_units(tx, variant)
  local row, e = tx:one(ONE:format("?"), sql.bytes(variant))
  if row == nil then return nil, e end
  return row and row.free + row.more or 0
end


return offers
