-- till/store/stock_blocked - units that cannot be moved, for what the tables say of a SKU
-- contradicts itself: a hand in the database, a backup put back in part, or our fault.
--
--   is(err) -> boolean                      a condition of a table refused it: trying again is vain
--   tell(tx, row, err, detail) -> true | nil, err     row { variant_id, location_id, quantity } in
--                                           bytes; raises stock.blocked of the SKU
--   contradicts(err) -> boolean             of these: the row says less than is to be taken off
--   put_right(tx, refused, reference, detail) -> true | nil, err     what was given back, and
--                                           logged, could not be taken off these rows (as
--                                           till.store.units has them): they become what is held,
--                                           and are told of
--   close()                                 those that have not been met for QUIET_MS
--   TRY_AGAIN_MS                            until then it is passed over
local alerts = require "till.store.alerts"
local err = require "till.util.err"
local id = require "till.util.id"
local log = require "till.prim.log"
local sql = require "till.prim.sql"
local stock_log = require "till.store.stock_log"
local time = require "till.prim.time"

local KIND, TRY_AGAIN_MS = "stock.blocked", 600000
local blocked = { KIND = KIND, TRY_AGAIN_MS = TRY_AGAIN_MS }

local QUIET_MS = 2 * TRY_AGAIN_MS
local REFUSED = { "rejected", "out_of_range" }
local CHECK_FAILED = 4025 -- ER_CONSTRAINT_FAILED


function blocked.is(e)
  for _, code in ipairs(REFUSED) do
    if err.is(e, code) then return true end
  end
  return false
end


function blocked.tell(tx, row, why, detail)
  local variant = id.text("var", row.variant_id)
  detail.location_id = row.location_id and id.text("loc", row.location_id)
  detail.quantity, detail.reason = row.quantity, why.code
  local opened, e = alerts.raise(tx, KIND, variant, { detail = detail })
  if opened == nil then return nil, e end
  log.error(KIND, { variant = variant, errcode = why.errcode, next_step = "moontill stock check,"
    .. " then count the SKU: what is reserved or promised of it is less than what is held" })
  return true
end


function blocked.contradicts(e)
  return e.errcode == CHECK_FAILED
end


local THERE = { row = "SELECT reserved AS was, on_hand AS most FROM stock WHERE variant_id = ?"
    .. " AND location_id = ? FOR UPDATE",
  held = "SELECT CAST(COALESCE(SUM(quantity), 0) AS SIGNED) AS n FROM reservations"
    .. " WHERE variant_id = ? AND location_id = ? AND state = 'held'",
  set = "UPDATE stock SET reserved = ?, version = version + 1 WHERE variant_id = ?"
    .. " AND location_id = ?" }
local PROMISED = { row = "SELECT promised AS was, IF(policy = 'deny', NULL, unit_limit) AS most"
    .. " FROM backorders WHERE variant_id = ? FOR UPDATE",
  held = "SELECT CAST(COALESCE(SUM(quantity), 0) AS SIGNED) AS n FROM reservations"
    .. " WHERE variant_id = ? AND location_id IS NULL AND state IN ('held', 'backordered')",
  set = "UPDATE backorders SET promised = ?, version = version + 1 WHERE variant_id = ?" }


-- Locked first and added up then: whoever else holds of it has changed the row as well, or neither.
-- -> by how much it changed | nil, err
local function set_to_held(tx, row)
  local how, variant = row.location_id and THERE or PROMISED, sql.bytes(row.variant_id)
  local location = row.location_id and sql.bytes(row.location_id)
  local args = { variant, location }
  local now, e = tx:one(how.row, unpack(args))
  if not now then return nil, e end
  local held, e2 = tx:one(how.held, unpack(args))
  if not held then return nil, e2 end
  local n = math.min(held.n, now.most or held.n)
  local ok, e3 = tx:exec(how.set, n, unpack(args))
  if not ok then return nil, e3 end
  return n - now.was
end


-- As a pass over all stock does it (till.store.stock_compare), at once: whoever gave back waits for
-- no pass. The log, which has what was to be taken off, goes with the row.
function blocked.put_right(tx, refused, reference, detail)
  local events = {}
  for i, it in ipairs(refused) do
    local changed, e = set_to_held(tx, it.row)
    if not changed then return nil, e end
    local n = changed + it.row.quantity
    events[i] = { variant = it.row.variant_id, location = it.row.location_id, type = "adjusted",
      quantity = n, reserved = n, reference = reference, actor = "system",
      reason = "less was reserved, or promised, than was held" }
  end
  local ok, e = stock_log.add(tx, events)
  for _, it in ipairs(refused) do
    if ok then ok, e = blocked.tell(tx, it.row, it.why, detail) end
  end
  return ok, e
end


function blocked.close()
  return alerts.close_unseen(KIND, time.now_ms() - QUIET_MS)
end


return blocked
