-- till/flow/alert_ends - ends alerts whose condition somebody else has ended meanwhile.
--
--   close(kind, field, over) -> true | nil, err    of all that are open of a kind: field `subject`
--                          or `order_id` (of their detail) holds an id; over(ids) -> { id = true }
--                          of those that are over | nil, err
local alerts = require "till.store.alerts"

local alert_ends = {}

local PAGE = 200


function alert_ends.close(kind, field, over)
  local after = 0
  repeat
    local rows, e = alerts.open_after(kind, after, PAGE)
    if not rows then return nil, e end
    local ids = {}
    for _, row in ipairs(rows) do ids[#ids + 1] = row[field] end
    local gone, e2 = over(ids)
    if not gone then return nil, e2 end
    for _, row in ipairs(rows) do
      after = row.id
      if gone[row[field] or ""] then alerts.close(kind, row.subject) end
    end
  until #rows < PAGE
  return true
end


return alert_ends
