-- till/flow/booking_disputes - which dispute of a payment an event ends. Pure.
--
--   ended_by(list, event, was) -> minor units that it took | nil: there is none, or it has ended
--                       list: of till.store.payment_events; event: won or lost, with the reference
--                       of the dispute; was: what the list comes to. Without one: all that is open
local disputes = {}

local ENDS = { won = true, lost = true }


-- Old lists have ends that bear another name than their dispute: of that, where no other is open.
local function which_of(open, nameless, reference)
  if reference and open[reference] then return reference end
  local one = next(open)
  return nameless == 0 and one and not next(open, one) and one or nil
end


-- Of a list: which disputes are open, and what they took.
-- -> { reference -> amount }, sum of those that bear none, { reference = true } of those that ended
local function disputes_of(list)
  local open, nameless, ended = {}, 0, {}
  for _, known in ipairs(list) do
    local ref = known.reference
    if known.event == "disputed" then
      if ref then open[ref] = known.amount else nameless = nameless + known.amount end
    elseif ENDS[known.event] then
      local which = which_of(open, nameless, ref)
      if which then open[which] = nil else nameless = 0 end
      if not ref then open = {} end
      ended[which or ref or ""] = true
    end
  end
  return open, nameless, ended
end


-- What the dispute took that ends; without a name all that is disputed.
function disputes.ended_by(list, event, was)
  local open, nameless, ended = disputes_of(list)
  if not event.reference then return was.disputed end
  if ended[event.reference] then return nil end
  return open[event.reference] or nameless > 0 and nameless or nil
end


return disputes
