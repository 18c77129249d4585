-- till/store/people - staff and customers, with their passwords' digests.
--
--   staff.by_email(email), staff.create{…}, staff.list(opts)
--   staff.disable(id [, may]) -> true | false: there is none | nil, err
--   customers.by_email(email), customers.get(id), customers.create{…}, customers.list(opts)
--
-- A password is given here as { salt =, hash = } only (till.flow.access makes them).
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local json = require "till.prim.json"
local page = require "till.store.page"
local sql = require "till.prim.sql"

local people = { staff = {}, customers = {} }

local STAFF = "id, email, name, roles, disabled_at, created_at"
local CUSTOMER = "id, email, first_name, last_name, phone, customer_group, tax_exempt, created_at"


local function to_staff(row)
  return { id = id.text("staff", row.id), email = row.email, name = row.name,
    roles = db.json(row.roles) or {}, disabled_at = row.disabled_at, created_at = row.created_at,
    password_salt = row.password_salt, password_hash = row.password_hash }
end


local function to_customer(row)
  return { id = id.text("cus", row.id), email = row.email, first_name = row.first_name,
    last_name = row.last_name, phone = row.phone, group = row.customer_group,
    tax_exempt = row.tax_exempt == 1, created_at = row.created_at,
    password_salt = row.password_salt, password_hash = row.password_hash }
end


local function taken(e, what)
  if err.is(e, "duplicate") then
    return err.new("duplicate", ("there is %s with this e-mail address already"):format(what),
      { public = true })
  end
  return e
end


function people.staff.by_email(email)
  local row, e = sql.one("SELECT " .. STAFF .. ", password_salt, password_hash FROM staff"
    .. " WHERE email = ? AND disabled_at IS NULL", email:lower())
  if not row then return row, e end
  return to_staff(row)
end


function people.staff.create(f, tx)
  local staff_id = id.new("staff")
  local ok, e = db.on(tx):exec("INSERT INTO staff (id, email, name, password_salt, password_hash,"
    .. " roles, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)", db.bin("staff", staff_id),
    f.email:lower(), f.name or "", sql.bytes(f.password.salt), sql.bytes(f.password.hash),
    db.to_json(json.array(f.roles or {})), db.now())
  if not ok then return nil, taken(e, "somebody") end
  return { id = staff_id, email = f.email:lower(), name = f.name or "", roles = f.roles or {} }
end


--- Also of somebody who was disabled.
function people.staff.id_of(email)
  local row, e = sql.one("SELECT id FROM staff WHERE email = ?", email:lower())
  if not row then return row, e end
  return id.text("staff", row.id)
end


function people.staff.set_password(email, password)
  local done, e = sql.exec("UPDATE staff SET password_salt = ?, password_hash = ? WHERE email = ?",
    sql.bytes(password.salt), sql.bytes(password.hash), email:lower())
  if not done then return nil, e end
  return done.affected == 1
end


function people.staff.list(opts)
  local rows, e = page.rows { select = STAFF, from = "staff", id = "id", prefix = "staff",
    opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_staff(row) end
  return rows
end


-- All who are not disabled, as long as `tx` lasts: two who end each other come one after the other.
-- -> the one | nil, the others | nil, nil, err
local function lock_all(tx, staff_id)
  local rows, e = tx:query("SELECT " .. STAFF .. " FROM staff WHERE disabled_at IS NULL"
    .. " ORDER BY id FOR UPDATE")
  if not rows then return nil, nil, e end
  local found, others = nil, {}
  for _, row in ipairs(rows) do
    local one = to_staff(row)
    if one.id == staff_id then found = one else others[#others + 1] = one end
  end
  return found, others
end


--- may(the one, the others) -> true | nil, err; nil: whoever asks may
function people.staff.disable(staff_id, may)
  return sql.transaction(function(tx)
    local found, others, e = lock_all(tx, staff_id)
    if not others then return nil, e end
    if not found then return false end
    local ok, why = true, nil
    if may then ok, why = may(found, others) end
    if not ok then return nil, why end
    local bin = db.bin("staff", staff_id)
    ok, e = tx:exec("UPDATE staff SET disabled_at = ? WHERE id = ?", db.now(), bin)
    if ok then ok, e = tx:exec("DELETE FROM sessions WHERE staff_id = ?", bin) end
    if not ok then return nil, e end
    return true
  end)
end


local function find_customer(where, value)
  local row, e = sql.one("SELECT " .. CUSTOMER .. ", password_salt, password_hash FROM customers"
    .. " WHERE " .. where, value)
  if not row then return row, e end
  return to_customer(row)
end


function people.customers.by_email(email)
  return find_customer("email = ?", email:lower())
end


function people.customers.get(customer_id)
  return find_customer("id = ?", db.bin("cus", customer_id))
end


function people.customers.create(f, tx)
  local customer_id = id.new("cus")
  local ok, e = db.on(tx):exec("INSERT INTO customers (id, email, first_name, last_name, phone,"
    .. " password_salt, password_hash, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    db.bin("cus", customer_id), f.email:lower(), f.first_name or "", f.last_name or "",
    f.phone or "", f.password and sql.bytes(f.password.salt) or sql.null,
    f.password and sql.bytes(f.password.hash) or sql.null, db.now(), db.now())
  if not ok then return nil, taken(e, "an account") end
  return { id = customer_id, email = f.email:lower(), first_name = f.first_name or "",
    last_name = f.last_name or "", phone = f.phone or "" }
end


function people.customers.list(opts)
  local where, args = {}, {}
  if opts.email then where[1], args[1] = "email = ?", opts.email:lower() end
  local rows, e = page.rows { select = CUSTOMER, from = "customers", where = where, args = args,
    id = "id", prefix = "cus", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_customer(row) end
  return rows
end


return people
