-- till/store/stock_log - the log of stock: it is only ever added to.
--
--   add(tx, events) -> true value | nil, err      tx may be a till.store.script
--
-- An event: variant, location (bytes; nil: units that are promised and not there yet), type,
-- quantity as signed as its effect, on_hand and reserved (what they change, 0 when absent),
-- reference (cart, order, adjustment), reason, actor; tells (told of also where its effect is 0).
--
-- Whoever changes stock tells of it: with the events of one call goes one `stock.changed` of the
-- outbox, with the variants that they changed. Readers of stock go by that.
local db = require "till.store.db"
local id = require "till.util.id"
local records = require "till.store.records"
local sql = require "till.prim.sql"

local stock_log = {}

local AT_ONCE = 150 -- a statement takes 2000 parameters
local EVENT = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


local function tell(tx, events)
  local ids, seen = {}, {}
  for _, e in ipairs(events) do
    local is_change = e.tells or (e.on_hand or 0) ~= 0 or (e.reserved or 0) ~= 0
    if is_change and not seen[e.variant] then
      seen[e.variant] = true
      ids[#ids + 1] = id.text("var", e.variant)
    end
  end
  if #ids == 0 then return true end
  return records.events(tx, { { aggregate = "stock:" .. (events[1].reference or ids[1]),
    type = "stock.changed", payload = { variant_ids = ids } } })
end


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
  return db.insert(tx, "INSERT INTO stock_events (variant_id, location_id, type, quantity,"
    .. " on_hand_delta, reserved_delta, reference, reason, actor, at) VALUES " .. EVENT
    .. (", " .. EVENT):rep(#events - 1), unpack(args))
end


function stock_log.add(tx, events)
  for from = 1, #events, AT_ONCE do
    local ok, e = add_some(tx, { unpack(events, from, math.min(#events, from + AT_ONCE - 1)) })
    if not ok then return nil, e end
  end
  return tell(tx, events)
end


return stock_log
