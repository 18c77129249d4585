-- till/store/promotions - the shop's own promotions; their terms are those of the pricing rules.
--
--   for_cart(codes, customer)   automatic ones and those of the codes, active: list
--   find_code(code)             -> promotion | false
--   get(id), list{…}, create(tx, fields), update(tx, id, fields), lock(tx, id)
--   redeem(script, order)       the promotions of the order; refused ({ promotion = name }) when a
--                               limit is reached
--   unredeem(tx, order_id)      of a cancelled order
-- A customer is who has the address, in whatever case its letters are: é and e are two.
local db = require "till.store.db"
local err = require "till.util.err"
local id = require "till.util.id"
local page = require "till.store.page"
local script = require "till.store.script"
local sql = require "till.prim.sql"
local text = require "till.util.text"

local promotions = {}

local COLUMNS = "p.id, p.code, p.name, p.terms, p.status, p.usage_limit, p.per_customer_limit,"
  .. " p.used, p.starts_at, p.ends_at, p.version, p.created_at, p.updated_at"


local function to_promotion(row)
  return {
    id = id.text("promo", row.id), code = row.code, name = row.name, terms = db.json(row.terms),
    status = row.status, usage_limit = row.usage_limit, used = row.used,
    per_customer_limit = row.per_customer_limit, used_by_customer = row.used_by_customer,
    starts_at = row.starts_at, ends_at = row.ends_at, version = row.version,
    created_at = row.created_at, updated_at = row.updated_at,
  }
end


--- As they are compared: trimmed, upper case.
function promotions.normal(code)
  return text.strip(code):upper()
end


function promotions.for_cart(codes, customer, tx)
  local args = { customer or "" }
  for _, code in ipairs(codes) do args[#args + 1] = code end
  local rows, e = db.on(tx):query("SELECT " .. COLUMNS .. ", c.used AS used_by_customer"
    .. " FROM promotions p LEFT JOIN promotion_customers c ON c.promotion_id = p.id"
    .. " AND c.customer = LOWER(?) WHERE p.status = 'active' AND (p.code IS NULL"
    .. (#codes > 0 and " OR p.code IN (" .. sql.marks(#codes) .. ")" or "") .. ") ORDER BY p.id",
    unpack(args))
  if not rows then return nil, e end
  local out = {}
  for i, row in ipairs(rows) do out[i] = to_promotion(row) end
  return out
end


local function find(where, value, tx)
  local row, e = db.on(tx):one("SELECT " .. COLUMNS .. " FROM promotions p WHERE " .. where, value)
  if not row then return row, e end
  return to_promotion(row)
end


function promotions.find_code(code, tx)
  return find("p.code = ?", promotions.normal(code), tx)
end


function promotions.get(promotion_id, tx)
  return find("p.id = ?", db.bin("promo", promotion_id), tx)
end


function promotions.lock(tx, promotion_id)
  return tx:one("SELECT version FROM promotions WHERE id = ? FOR UPDATE",
    db.bin("promo", promotion_id))
end


function promotions.list(opts)
  local where, args = {}, {}
  if opts.status then where[1], args[1] = "p.status = ?", opts.status end
  local rows, e = page.rows { select = COLUMNS, from = "promotions p", where = where, args = args,
    id = "p.id", prefix = "promo", opts = opts, newest_first = true }
  if not rows then return nil, e end
  for i, row in ipairs(rows) do rows[i] = to_promotion(row) end
  return rows
end


local function taken(e, code)
  if err.is(e, "duplicate") then
    return err.new("duplicate", "there is a promotion with the code " .. tostring(code),
      { public = true })
  end
  return e
end


local function or_null(value)
  value = db.given(value)
  if value == nil then return sql.null end
  return value
end


function promotions.create(tx, f)
  local promotion_id, code = id.new("promo"), db.given(f.code)
  local ok, e = tx:exec("INSERT INTO promotions (id, code, name, terms, status, usage_limit,"
    .. " per_customer_limit, starts_at, ends_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    db.bin("promo", promotion_id), code and promotions.normal(code) or sql.null, f.name,
    db.to_json(f.terms), f.status or "active", or_null(f.usage_limit),
    or_null(f.per_customer_limit), db.at(f.starts_at), db.at(f.ends_at))
  if not ok then return nil, taken(e, code) end
  return promotion_id
end


local AS = {
  code = function(v) return db.given(v) and promotions.normal(v) or sql.null end,
  name = or_null, status = or_null, usage_limit = or_null, per_customer_limit = or_null,
  terms = db.to_json, starts_at = db.at, ends_at = db.at,
}


-- Not below what is used already: whoever was promised it has it.
local function check_limit(tx, promotion_id, limit)
  local row, e = tx:one("SELECT used FROM promotions WHERE id = ? FOR UPDATE",
    db.bin("promo", promotion_id))
  if row == nil then return nil, e end
  if not row or row.used <= limit then return true end
  return nil, err.new("conflict", ("it was used %d times already; give a usage_limit of %d or more,"
    .. " or pause it"):format(row.used, row.used))
end


function promotions.update(tx, promotion_id, fields)
  if type(fields.usage_limit) == "number" then
    local fits, e = check_limit(tx, promotion_id, fields.usage_limit)
    if not fits then return nil, e end
  end
  local sets, args = { "version = version + 1" }, {}
  for name, as in pairs(AS) do
    if fields[name] ~= nil then
      sets[#sets + 1], args[#args + 1] = name .. " = ?", as(fields[name])
    end
  end
  args[#args + 1] = db.bin("promo", promotion_id)
  local ok, e = tx:exec("UPDATE promotions SET " .. table.concat(sets, ", ") .. " WHERE id = ?",
    unpack(args))
  if not ok then return nil, taken(e, fields.code) end
  return true
end


-- The limits stand in the condition: nobody counts first and writes later.
local function redeem_one(s, promotion, order)
  local bin, refusal = db.bin("promo", promotion.id), { promotion = promotion.name }
  s:rank(script.COUNTED)
  s:sum(refusal, promotion.id, 1, "UPDATE promotions SET used = used + ? WHERE id = ?"
    .. " AND status = 'active' AND (usage_limit IS NULL OR used + ? <= usage_limit)", script.SUM,
    bin, script.SUM)
  s:rank(script.NOTED)
  s:exec("INSERT IGNORE INTO promotion_customers (promotion_id, customer) VALUES (?, LOWER(?))",
    bin, order.email)
  s:must(refusal, 1, "UPDATE promotion_customers c JOIN promotions p ON p.id = c.promotion_id"
    .. " SET c.used = c.used + 1 WHERE c.promotion_id = ? AND c.customer = LOWER(?)"
    .. " AND (p.per_customer_limit IS NULL OR c.used < p.per_customer_limit)", bin, order.email)
  s:insert("INSERT INTO promotion_redemptions (promotion_id, order_id, customer, amount)"
    .. " VALUES (?, ?, LOWER(?), ?)", bin, db.bin("ord", order.id), order.email, promotion.amount)
  s:rank(script.OWN)
end


-- In the order of their ids: two orders never wait for each other in a circle.
function promotions.redeem(s, order)
  local list = {}
  for _, promotion in ipairs(order.promotions) do
    if promotion.id and promotion.amount > 0 then list[#list + 1] = promotion end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  for _, promotion in ipairs(list) do redeem_one(s, promotion, order) end
end


-- As redeem takes them: the promotion, then who used it.
function promotions.unredeem(tx, order_id)
  local bin = db.bin("ord", order_id)
  local rows, e = tx:query("SELECT promotion_id, customer FROM promotion_redemptions"
    .. " WHERE order_id = ? ORDER BY promotion_id", bin)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local promo = sql.bytes(row.promotion_id)
    local ok, e2 = tx:exec("UPDATE promotions SET used = used - 1 WHERE id = ? AND used > 0", promo)
    if ok then
      ok, e2 = tx:exec("UPDATE promotion_customers SET used = used - 1"
        .. " WHERE promotion_id = ? AND customer = LOWER(?) AND used > 0", promo, row.customer)
    end
    if not ok then return nil, e2 end
  end
  return tx:exec("DELETE FROM promotion_redemptions WHERE order_id = ?", bin)
end


return promotions
