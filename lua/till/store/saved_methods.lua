-- till/store/saved_methods - ways to pay that a provider keeps for a customer.
--
--   list(customer_id [, provider])  -> methods, newest first: those that he has not deleted
--   get(customer_id, id)            -> method | false
--   add(method)                     -> true | nil, err      one that is there already stays
--   hide(tx, customer_id, id)       -> was it there? | nil, err     the row waits for the provider
--   hidden(id)                      -> method | false       one that is to be forgotten
--   remove(id)
--   after(id or nil, limit)         -> methods of everybody by id, also those that are hidden
--   reseal(m, sealed, token_index)  -> true | false where it is not as it was read. The index stays
--                                   where another row of his has the new one
--
-- method { id, customer_id, provider, token_index, sealed (bytes of the vault), brand, last4,
-- exp_month, exp_year, created_at }
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local saved_methods = {}

local SELECT = "SELECT id, customer_id, provider, sealed, brand, last4, exp_month, exp_year,"
  .. " created_at FROM saved_payment_methods"


local function to_method(row)
  row.id, row.customer_id = id.text("pmt", row.id), id.text("cus", row.customer_id)
  return row
end


function saved_methods.list(customer_id, provider)
  local rows, e = sql.query(SELECT .. " WHERE customer_id = ? AND provider = COALESCE(?, provider)"
    .. " AND deleted_at IS NULL ORDER BY id DESC LIMIT 100", db.bin("cus", customer_id),
    provider or sql.null)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_method(row) end
  return rows
end


local function one(where, ...)
  local row, e = sql.one(SELECT .. " WHERE " .. where, ...)
  if not row then return row, e end
  return to_method(row)
end


function saved_methods.get(customer_id, method_id)
  return one("id = ? AND customer_id = ? AND deleted_at IS NULL", db.bin("pmt", method_id),
    db.bin("cus", customer_id))
end


function saved_methods.hidden(method_id)
  return one("id = ? AND deleted_at IS NOT NULL", db.bin("pmt", method_id))
end


local function value(v)
  if v == nil then return sql.null end
  return v
end


function saved_methods.add(m)
  return sql.exec("INSERT INTO saved_payment_methods (id, customer_id, provider, token_index,"
    .. " sealed, brand, last4, exp_month, exp_year, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,"
    .. " ?) ON DUPLICATE KEY UPDATE id = id", db.bin("pmt", m.id), db.bin("cus", m.customer_id),
    m.provider, sql.bytes(m.token_index), sql.bytes(m.sealed), value(m.brand), value(m.last4),
    value(m.exp_month), value(m.exp_year), db.now())
end


function saved_methods.hide(tx, customer_id, method_id)
  local done, e = tx:exec("UPDATE saved_payment_methods SET deleted_at = ? WHERE id = ?"
    .. " AND customer_id = ? AND deleted_at IS NULL", db.now(), db.bin("pmt", method_id),
    db.bin("cus", customer_id))
  if not done then return nil, e end
  return done.affected == 1
end


function saved_methods.remove(method_id)
  return sql.exec("DELETE FROM saved_payment_methods WHERE id = ? AND deleted_at IS NOT NULL",
    db.bin("pmt", method_id))
end


function saved_methods.after(method_id, limit)
  local rows, e = sql.query(SELECT .. " WHERE id > COALESCE(?, '') ORDER BY id LIMIT ?",
    method_id and db.bin("pmt", method_id) or sql.null, limit)
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_method(row) end
  return rows
end


local function write(m, sealed, set, ...)
  local args = { sql.bytes(sealed), ... }
  args[#args + 1], args[#args + 2] = db.bin("pmt", m.id), sql.bytes(m.sealed)
  local done, e = sql.exec("UPDATE IGNORE saved_payment_methods SET sealed = ?" .. set
    .. " WHERE id = ? AND sealed = ?", unpack(args))
  if not done then return nil, e end
  return done.affected == 1
end


function saved_methods.reseal(m, sealed, token_index)
  local done, e = write(m, sealed, ", token_index = ?", sql.bytes(token_index))
  if done ~= false then return done, e end
  return write(m, sealed, "")
end


return saved_methods
