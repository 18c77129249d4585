-- till/store/categories - the tree that the catalogue hangs in.
--
--   all([tx])             every category in order: id, parent_id, handle, title, position, version
--   get(id_or_handle [, tx]) -> category | false | nil, err
--   create(tx, fields) -> id; update(tx, id, fields); remove(tx, id)
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"

local categories = {}

local COLUMNS = "id, parent_id, handle, title, position, version, created_at, updated_at"


local function to_category(row)
  return {
    id = id.text("cat", row.id), parent_id = db.text("cat", row.parent_id), handle = row.handle,
    title = row.title, position = row.position, version = row.version,
    created_at = row.created_at, updated_at = row.updated_at,
  }
end


function categories.all(tx)
  local rows, e = db.on(tx):query("SELECT " .. COLUMNS
    .. " FROM categories ORDER BY position, handle")
  if not rows then return nil, e end
  local out = {}
  for i, row in ipairs(rows) do out[i] = to_category(row) end
  return out
end


function categories.get(key, tx)
  local by_id = id.valid("cat", key)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM categories WHERE "
    .. (by_id and "id = ?" or "handle = ?"), by_id and db.bin("cat", key) or key)
  if not row then return row, e end
  return to_category(row)
end


local function taken(e, handle)
  if err.is(e, "duplicate") then
    return err.new("duplicate", ("there is a category with the handle %s already")
      :format(tostring(handle)), { public = true })
  end
  return e
end


-- A category below itself would make every walk of the tree endless.
local function check_parent(tx, category_id, parent_id)
  local at = parent_id
  while at do
    if at == category_id then
      return nil, err.new("conflict", "a category cannot stand below itself")
    end
    local parent, e = categories.get(at, tx)
    if not parent then return nil, e or err.new("not_found", "there is no category " .. at) end
    at = parent.parent_id
  end
  return true
end


function categories.create(tx, fields)
  local category_id = id.new("cat")
  local parent = db.given(fields.parent_id)
  local ok, e = check_parent(tx, category_id, parent)
  if not ok then return nil, e end
  ok, e = tx:exec("INSERT INTO categories (id, parent_id, handle, title, position)"
    .. " VALUES (?, ?, ?, ?, ?)", db.bin("cat", category_id), db.bin("cat", parent),
    fields.handle, fields.title, fields.position or 0)
  if not ok then return nil, taken(e, fields.handle) end
  return category_id
end


function categories.update(tx, category_id, fields)
  local sets, args = { "version = version + 1" }, {}
  for _, name in ipairs { "handle", "title", "position" } do
    if fields[name] ~= nil then
      sets[#sets + 1], args[#args + 1] = name .. " = ?", fields[name]
    end
  end
  if fields.parent_id ~= nil then
    local parent = db.given(fields.parent_id)
    local ok, e = check_parent(tx, category_id, parent)
    if not ok then return nil, e end
    sets[#sets + 1], args[#args + 1] = "parent_id = ?", db.bin("cat", parent)
  end
  args[#args + 1] = db.bin("cat", category_id)
  local ok, e = tx:exec("UPDATE categories SET " .. table.concat(sets, ", ") .. " WHERE id = ?",
    unpack(args))
  if not ok then return nil, taken(e, fields.handle) end
  return true
end


--- Version of the locked row | false.
function categories.lock(tx, category_id)
  return tx:one("SELECT version FROM categories WHERE id = ? FOR UPDATE",
    db.bin("cat", category_id))
end


function categories.remove(tx, category_id)
  local bin = db.bin("cat", category_id)
  local child, e = tx:one("SELECT id FROM categories WHERE parent_id = ? LIMIT 1", bin)
  if child == nil then return nil, e end
  if child then return nil, err.new("conflict", "it has categories below it; move them first") end
  return tx:exec("DELETE FROM categories WHERE id = ?", bin)
end


return categories
