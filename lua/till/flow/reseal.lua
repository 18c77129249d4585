-- till/flow/reseal - what is sealed by an older key of vault.keys is sealed by the current one.
--
--   reseal.run() -> how many it was | nil, err       every minute, once for all machines
--
-- Saved payment methods, by id, MOST of them in a run. Keys change with a reload, and a reload is a
-- new VM: so a pass that has come to the end with nothing left is not begun again in this one. Who
-- reads a row meanwhile opens it with the key that it names; a row that changed under us is left to
-- the next pass. One whose key is gone cannot be opened by anybody: it is told, and passed over.
-- When `vault.resealed` tells is_over with failed = 0, the older lines may be taken out.
local log = require "till.prim.log"
local saved_methods = require "till.flow.saved_methods"
local store = require "till.store.saved_methods"

local reseal = {}

local MOST = 2000

-- Of this worker's pass.
local pass = { after = nil, resealed = 0, failed = 0 }
local is_done = false


local function one(method)
  local done, e = saved_methods.reseal(method)
  if done then
    pass.resealed = pass.resealed + 1
  elseif done == nil then
    pass.failed = pass.failed + 1
    log.error("vault.reseal", { id = method.id, error = tostring(e),
      next_step = "put the key that it was sealed with back into vault.keys" })
  end
  return done
end


local function tell(is_over)
  if pass.resealed + pass.failed == 0 then return end
  log.info("vault.resealed", { resealed = pass.resealed, failed = pass.failed, is_over = is_over })
end


function reseal.run()
  if is_done then return 0 end
  local rows, e = store.after(pass.after, MOST)
  if not rows then return nil, e end
  local n = 0
  for _, method in ipairs(rows) do
    if one(method) then n = n + 1 end
  end
  local is_over = #rows < MOST
  tell(is_over)
  if not is_over then
    pass.after = rows[#rows].id
    return n
  end
  is_done = pass.resealed + pass.failed == 0
  pass = { after = nil, resealed = 0, failed = 0 }
  return n
end


return reseal
