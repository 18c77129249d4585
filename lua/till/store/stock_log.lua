-- till/store/stock_log - the log of stock: it is only ever added to.
--
--   add(tx, events) -> true value | nil, err      tx may be a till.store.script
--
-- An event: variant, location (bytes; nil: units that are promised and not there yet), type,
-- quantity as signed as its effect, on_hand and reserved (what they change, 0 when absent),
-- reference (cart, order, adjustment), reason, actor.
local db = require "till.store.db"
local sql = require "till.prim.sql"

local stock_log = {}

local AT_ONCE = 150 -- a statement takes 2000 parameters
local EVENT = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


local function add_some(tx, events)
  local args, now = {}, db.now()
  for _, e in ipairs(events) do
    local n = #args
    args[n + 1] = sql.bytes(e.variant)
    args[n + 2] = e.location and sql.bytes(e.location) or sql.null
    args[n + 3], args[n + 4], args[n + 5] = e.type, e.quantity, e.on_hand or 0
    args[n + 6], args[n + 7], args[n + 8] = e.reserved or 0, e.reference or "", e.reason or ""
    args[n + 9], args[n + 10] = e.actor or "", now
  end
  return tx:exec("INSERT INTO stock_events (variant_id, location_id, type, quantity, on_hand_delta,"
    .. " reserved_delta, reference, reason, actor, at) VALUES " .. EVENT
    .. (", " .. EVENT):rep(#events - 1), unpack(args))
end


function stock_log.add(tx, events)
  for from = 1, #events, AT_ONCE do
    local ok, e = add_some(tx, { unpack(events, from, math.min(#events, from + AT_ONCE - 1)) })
    if not ok then return nil, e end
  end
  return true
end


return stock_log
