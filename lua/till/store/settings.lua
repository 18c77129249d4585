-- till/store/settings - small facts about the shop itself, by name.
--
--   get(name) -> value | nil, err      set(name, value [, tx]) -> true | nil, err
local db = require "till.store.db"
local sql = require "till.prim.sql"

local settings = {}


function settings.get(name)
  local row, e = sql.one("SELECT value FROM settings WHERE name = ?", name)
  if not row then return nil, e end
  return db.json(row.value)
end


function settings.set(name, value, tx)
  local ok, e = db.on(tx):exec("INSERT INTO settings (name, value) VALUES (?, ?)"
    .. " ON DUPLICATE KEY UPDATE value = VALUES(value)", name, db.to_json(value))
  if not ok then return nil, e end
  return true
end


return settings
