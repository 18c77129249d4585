-- till/store/fulfilments - parcels: which units of an order were packed together.
--
--   create(tx, order_id, f) -> id      f { lines, status, actor, tracking_number, carrier }, which
--                                      gets the id
--   set(tx, id, fields)                status, tracking_number, carrier
--   count(tx, line_id, n)              so many units more are in parcels; the table refuses more
--                                      than there are
--   of_order(tx, order_bin) -> list    oldest first, with their lines
--   of_orders(tx, order_ids) -> { order id -> list }, of those that have any
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"

local fulfilments = {}


local function or_null(v)
  v = db.given(v)
  if v == nil then return sql.null end
  return v
end


function fulfilments.create(tx, order_id, f)
  f.id = id.new("ful")
  local bin = db.bin("ful", f.id)
  local ok, e = tx:exec("INSERT INTO fulfilments (id, order_id, status, tracking_number, carrier,"
    .. " actor, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)", bin, db.bin("ord", order_id), f.status,
    or_null(f.tracking_number), or_null(f.carrier), f.actor, db.now())
  for _, l in ipairs(f.lines) do
    if not ok then return nil, e end
    ok, e = tx:exec("INSERT INTO fulfilment_lines (fulfilment_id, line_id, quantity)"
      .. " VALUES (?, ?, ?)", bin, db.bin("line", l.line_id), l.quantity)
  end
  if not ok then return nil, e end
  return f.id
end


local SETTABLE = { status = true, tracking_number = true, carrier = true }


function fulfilments.set(tx, fulfilment_id, fields)
  local sets, args = {}, {}
  for name, value in pairs(fields) do
    if not SETTABLE[name] then error("fulfilments.set does not change " .. name, 2) end
    sets[#sets + 1], args[#args + 1] = name .. " = ?", or_null(value)
  end
  args[#args + 1] = db.bin("ful", fulfilment_id)
  return tx:exec("UPDATE fulfilments SET " .. table.concat(sets, ", ") .. " WHERE id = ?",
    unpack(args))
end


function fulfilments.count(tx, line_id, n)
  return tx:exec("UPDATE order_lines SET fulfilled_quantity = fulfilled_quantity + ? WHERE id = ?",
    n, db.bin("line", line_id))
end


local READ = "SELECT f.id, f.order_id, f.status, f.tracking_number, f.carrier, f.created_at,"
  .. " l.line_id, l.quantity FROM fulfilments f JOIN fulfilment_lines l"
  .. " ON l.fulfilment_id = f.id WHERE f.order_id %s ORDER BY f.id, l.line_id"


local function to_fulfilments(rows)
  local out, by_id = {}, {}
  for _, row in ipairs(rows) do
    local f = by_id[row.id]
    if not f then
      f = { id = id.text("ful", row.id), status = row.status,
        tracking_number = row.tracking_number, carrier = row.carrier,
        created_at = row.created_at, lines = {} }
      by_id[row.id], out[#out + 1] = f, f
    end
    f.lines[#f.lines + 1] = { line_id = id.text("line", row.line_id), quantity = row.quantity }
  end
  return out
end


function fulfilments.of_order(conn, order_bin)
  local rows, e = conn:query(READ:format "= ?", order_bin)
  return rows and to_fulfilments(rows), e
end


function fulfilments.of_orders(conn, order_ids)
  local bins = db.bins("ord", order_ids)
  local rows, e = conn:query(READ:format("IN (" .. sql.marks(#bins) .. ")"), unpack(bins))
  if not rows then return nil, e end
  local out = {}
  for bin, list in pairs(db.group(rows, "order_id")) do
    out[id.text("ord", bin)] = to_fulfilments(list)
  end
  return out
end


return fulfilments
