-- till/store/returns - units that go back to where they came from.
--
--   take_back(tx, order_id, cart_id, actor, units) -> true | nil, err
--     units { variant id -> how many }. The log knows what was sold from which location and what
--     came back already; nothing is given back twice. The rows of `stock` are taken in order of
--     variant and location: call it last, under the lock of the order.
local db = require "till.store.db"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local stock = require "till.store.stock"

local returns = {}


local function sold_rows(tx, order_id)
  return tx:query("SELECT variant_id, location_id, CAST(-SUM(on_hand_delta) AS SIGNED) AS sold"
    .. " FROM stock_events WHERE reference = ? AND type IN ('sold', 'returned')"
    .. " AND location_id IS NOT NULL GROUP BY variant_id, location_id"
    .. " ORDER BY variant_id, location_id", order_id)
end


local function give(tx, row, n, order_id, actor)
  local ok, e = tx:exec("UPDATE stock SET on_hand = on_hand + ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ?", n, sql.bytes(row.variant_id),
    sql.bytes(row.location_id))
  if not ok then return nil, e end
  return stock.log_event(tx, { variant = row.variant_id, location = row.location_id,
    type = "returned", quantity = n, on_hand = n, reference = order_id,
    reason = "order cancelled", actor = actor })
end


function returns.take_back(tx, order_id, _, actor, units)
  local rows, e = sold_rows(tx, order_id)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local variant = id.text("var", row.variant_id)
    local n = math.min(units[variant] or 0, row.sold)
    if n > 0 then
      local ok, e2 = give(tx, row, n, order_id, actor)
      if not ok then return nil, e2 end
      units[variant] = units[variant] - n
    end
  end
  return true
end


return returns
