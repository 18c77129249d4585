-- till/cli/payments/alert - `moontill payments close-alert`: ends an alert that nothing else ends,
-- as POST /admin/v1/alerts/{id}/close does, with the same audit.
--
--   run(opts) -> exit code        opts { id: its number, reason, author }
--   misused(opts) -> nil, or a sentence
local alert_by_hand = require "till.flow.alert_by_hand"
local say = require "till.cli.say"
local sql = require "till.prim.sql"
local term = require "till.prim.term"

local alert = {}


function alert.misused(opts)
  if not (opts.id or ""):find "^%d+$" or #opts.id > 15 then
    return "close-alert needs the number of an alert; `moontill stock alerts --json` has it"
  elseif not opts.reason or opts.reason == "" or #opts.reason > 255 then
    return "close-alert needs a --reason, of up to 255 bytes"
  elseif #(opts.author or "") > 50 then
    return "--author: at most 50 bytes"
  end
end


function alert.run(opts)
  local by = { actor = opts.author and "command:" .. opts.author or "command",
    reason = opts.reason }
  local row, e = sql.transaction(function(tx)
    return alert_by_hand.close(tx, tonumber(opts.id), by)
  end)
  if not row then return say.refused("payments", e) end
  term.write(("%d  %s  %s\n"):format(row.id, row.kind, row.state))
  return 0
end


return alert
