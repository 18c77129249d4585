-- till/store/generation_purge - generations that nobody will ask for again.
--
--   run(keep) -> how many were deleted | nil, err
--
-- Kept are the newest `keep`, what is live, what was live before it, and what orders were priced
-- by: they name it, and a refund or a replay may ask for its rules. Orders of a generation were
-- placed while it was live, which history tells; so only that piece of the orders is looked at, and
-- the first one found is enough. Open carts keep nothing: a change prices them anew. History stays.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local purge = {}

local BATCH = 100
local PARTS = { "library", "plugins", "configuration", "rules" }
local DOOMED = "SELECT g.hash, g.library, g.plugins, g.configuration, g.rules"
  .. " FROM generations g JOIN generation_live l ON l.id = 1"
  .. " WHERE g.hash <> l.generation AND g.created_at < (SELECT MIN(n.created_at) FROM (SELECT"
  .. " created_at FROM generations ORDER BY created_at DESC LIMIT ?) n)"
  .. " AND NOT EXISTS (SELECT 1 FROM generation_changes p WHERE p.sequence = l.sequence"
  .. " AND p.from_generation = g.hash)"
  .. " AND NOT EXISTS (SELECT 1 FROM generation_changes c LEFT JOIN generation_changes e"
  .. " ON e.sequence = c.sequence + 1 JOIN orders o ON o.placed_at BETWEEN"
  .. " c.created_at - INTERVAL 1 HOUR AND COALESCE(e.created_at, NOW(3)) + INTERVAL 1 HOUR"
  .. " AND o.generation = LOWER(HEX(g.hash)) WHERE c.to_generation = g.hash"
  .. " AND c.sequence IS NOT NULL) ORDER BY g.created_at LIMIT " .. BATCH
local NAMED = "SELECT library AS tree FROM generations UNION SELECT plugins FROM generations"
  .. " UNION SELECT configuration FROM generations UNION SELECT rules FROM generations"
local FILES = "DELETE FROM generation_files WHERE NOT EXISTS (SELECT 1 FROM generation_trees t"
  .. " WHERE t.file = generation_files.hash)"


local function delete(tx, from, column, hashes)
  if #hashes == 0 then return true end
  local list = {}
  for i, hash in ipairs(hashes) do list[i] = sql.bytes(hash) end
  db.padded(list)
  return tx:exec(("DELETE FROM %s WHERE %s IN (%s)"):format(from, column, sql.marks(#list)),
    unpack(list))
end


-- Trees of these that no other generation names.
local function orphans(tx, rows)
  local named, e = tx:query(NAMED)
  if not named then return nil, e end
  local seen, out = {}, {}
  for _, row in ipairs(named) do seen[row.tree] = true end
  for _, row in ipairs(rows) do
    for _, part in ipairs(PARTS) do
      local tree = row[part]
      if not seen[tree] then out[#out + 1] = tree end
      seen[tree] = true
    end
  end
  return out
end


local function delete_all(tx, rows)
  local hashes = {}
  for i, row in ipairs(rows) do hashes[i] = row.hash end
  local ok, e = delete(tx, "generations", "hash", hashes)
  if not ok then return nil, e end
  local trees, e2 = orphans(tx, rows)
  if not trees then return nil, e2 end
  ok, e = delete(tx, "generation_trees", "tree", trees)
  if ok then ok, e = tx:exec(FILES) end
  if not ok then return nil, e end
  return #rows
end


function purge.run(keep)
  return sql.transaction(function(tx)
    -- against who stores one just now, and holds it shared
    local held, e = tx:one("SELECT id FROM generation_live WHERE id = 1 FOR UPDATE")
    if not held then return nil, e end
    local rows, e2 = tx:query(DOOMED, keep)
    if not rows then return nil, e2 end
    if #rows == 0 then return 0 end
    return delete_all(tx, rows)
  end)
end


return purge
