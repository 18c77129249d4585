-- till/flow/doubted - payments that were given up while they may have been on their way still: he
-- who asked for it was slow, and the provider knew of nothing when somebody else looked.
--
--   doubted.run() -> how many were looked at | nil, err     with server:sweep-payments
--
-- Who asked hears in the end, and lets go of what is held (till.flow.late_payment). Where he dies
-- over it, or the database takes nothing from him, nobody else knows. So that a payment was given
-- up is written down with a doubt (till.store.abandoned), and it is looked up three times more:
-- after payments.sweep_after_ms, an hour and a day. What is held is let go of there, and told.
-- Where the provider says nothing it comes again.
local abandoned = require "till.store.abandoned"
local conf = require "till.prim.conf"
local late_payment = require "till.flow.late_payment"
local log = require "till.prim.log"
local time = require "till.prim.time"

local doubted = {}

local MOST, BUDGET_MS = 50, 10000


local function look(p)
  local done, e = late_payment.look(p)
  if done then done, e = abandoned.looked(p.id) end
  if done then return true end
  log.error("payment.doubted", { payment = p.id, provider = p.provider, error = tostring(e),
    next_step = "it is looked at again; look at the provider" })
  return false
end


function doubted.run()
  local list, e = abandoned.doubted(time.now_ms() - conf.get("payments.sweep_after_ms"), MOST)
  if not list then return nil, e end
  local until_ms, n = time.mono_ms() + BUDGET_MS, 0
  for _, p in ipairs(list) do
    if time.mono_ms() > until_ms then break end
    abandoned.touch(p.id) -- before it: one that fails for ever lets the others pass
    if look(p) then n = n + 1 end
  end
  return n
end


return doubted
