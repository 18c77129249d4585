-- till/flow/stock_findings - what a pass over all stock has found, noted once a pass, and told: an
-- alert, a line of the log, a metric.
--
--   tell(tx, pass, finding)    finding { kind, subject, location_id, detail, repaired }
--                              -> true, false: noted already | nil, err
--   note(pass, finding)        the same in a transaction of its own -> true | nil, err
--   not_summed(pass, place)    the log of { variant_id [, location_id, sku, at] } is too long
local alerts = require "till.store.alerts"
local checks = require "till.store.stock_checks"
local id = require "till.util.id"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local sql = require "till.prim.sql"

local findings = { ALERT = "stock.differs" }


local function count(kind, repaired)
  metrics.add("till_stock_differences_total", { kind = kind, repaired = tostring(repaired) }, 1)
end


-- What it was noted as, in this very transaction.
function findings.tell(tx, pass, finding)
  finding.check_id = pass.id
  local is_new, e = checks.note(tx, finding)
  if not is_new then return is_new, e end
  local detail = { check_id = pass.id, kind = finding.kind, repaired = finding.repaired or false,
    found = finding.detail }
  local opened, e2 = alerts.raise(tx, findings.ALERT, finding.subject, { detail = detail })
  if opened == nil then return nil, e2 end
  count(finding.kind, finding.repaired or false)
  log.warn("stock.differs", { check = pass.id, kind = finding.kind, subject = finding.subject,
    repaired = detail.repaired })
  return true
end


function findings.note(pass, finding)
  return sql.transaction(function(tx)
    local ok, e = findings.tell(tx, pass, finding)
    if ok == nil then return nil, e end
    return true
  end)
end


function findings.not_summed(pass, place)
  return findings.note(pass, { kind = "not_summed", subject = id.text("var", place.variant_id),
    location_id = place.location_id, detail = { sku = place.sku, checkpoint_at = place.at,
      reason = "the log could not be summed in time" } })
end


return findings
