-- till/store/stock_blocked - units that cannot be moved, for what the tables say of a SKU
-- contradicts itself: a hand in the database, a backup put back in part, or our fault.
--
--   is(err) -> boolean                      a condition of a table refused it: trying again is vain
--   tell(tx, row, err, detail) -> true | nil, err     row { variant_id, location_id, quantity } in
--                                           bytes; raises stock.blocked of the SKU
--   close()                                 those that have not been met for QUIET_MS
--   TRY_AGAIN_MS                            until then it is passed over
local alerts = require "till.store.alerts"
local err = require "till.util.err"
local id = require "till.util.id"
local log = require "till.prim.log"
local time = require "till.prim.time"

local KIND, TRY_AGAIN_MS = "stock.blocked", 600000
local blocked = { KIND = KIND, TRY_AGAIN_MS = TRY_AGAIN_MS }

local QUIET_MS = 2 * TRY_AGAIN_MS
local REFUSED = { "rejected", "out_of_range" }


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


function blocked.close()
  return alerts.close_unseen(KIND, time.now_ms() - QUIET_MS)
end


return blocked
