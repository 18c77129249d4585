-- till/cli/payments - `moontill payments`. `reconcile`: a provider's account compared with our
-- books, as POST /admin/v1/settlements does; this process does it and waits for its end. `list`,
-- `show` and `resolve` are till.cli.payments.attempts, `payouts` till.cli.payments.payouts,
-- `close-alert` till.cli.payments.alert.
local alert = require "till.cli.payments.alert"
local attempts = require "till.cli.payments.attempts"
local cli_payouts = require "till.cli.payments.payouts"
local dispatch = require "till.plugin.dispatch"
local json = require "till.prim.json"
local payout_json = require "till.http.payout_json"
local say = require "till.cli.say"
local settlement = require "till.flow.settlement"
local settlements = require "till.store.settlements"
local sql = require "till.prim.sql"
local term = require "till.prim.term"
local time = require "till.prim.time"

local HELP = [[
usage: moontill payments reconcile [--provider NAME] [--from TIME] [--to TIME] [--json]
           compare what moved at the provider with the books; docs/payments.md says what is done
       --provider NAME   e.g. stripe; all that can be asked, without it
       --from, --to      RFC 3339 (2026-11-01T00:00:00Z), or a day; the last three days without them
Exit code 1 where something does not agree.
       moontill payments payouts [--provider NAME] [--json]
           the newest 200 payouts to the bank, as they were found, with the sum of what each holds
       moontill payments payouts PAYOUT [--json]
           one, by its number or the provider's id, with the movements that it holds
       moontill payments list [--state STATE] [--json]
           the newest 200 in a state; without it those whose outcome is unknown
       moontill payments show PAYMENT [--json]     state, amounts, and what happened to it
       moontill payments resolve PAYMENT --as AS --reason TEXT [--author NAME]
           say what became of it, where its provider never tells: captured, not_captured, voided,
           not_found or refunded. The provider is asked first, and what it says wins; no money is
           moved. docs/payments.md says what may be
       moontill payments close-alert NUMBER --reason TEXT [--author NAME]
           end an alert that nothing else ends; docs/operations.md says which
Exit code 1 where that was refused, with the reason.
]]
local OPTIONS = { reconcile = { provider = true, from = true, to = true, json = true },
  payouts = { id = true, provider = true, json = true },
  list = { state = true, json = true }, show = { id = true, json = true },
  resolve = { id = true, as = true, reason = true, author = true },
  ["close-alert"] = { id = true, reason = true, author = true } }
local DAYS_MS = 3 * 86400000
local LISTS = { "missing_here", "missing_there", "differs", "other_currency" }
local WAIT_MS = 500

local cli = {}


local function print_report(s, report)
  term.write(("%s from %s to %s: %s\n"):format(s.provider, s.from_at, s.to_at, s.state))
  for _, row in ipairs(report.totals) do
    term.write(("  %s  %-16s %-13s %6d  there %d, booked %d, fees %d\n"):format(row.currency,
      row.kind, row.verdict, row.count, row.amount, row.booked, row.fee))
  end
  for _, name in ipairs(LISTS) do
    for _, item in ipairs(report[name]) do
      term.write(("  %s  %s %s  %d %s  at %s  %s  %s\n"):format(name, item.kind,
        item.source or item.reference, item.amount, item.currency, item.at,
        item.payment_id or "-", json.encode(item.detail)))
    end
  end
  cli_payouts.print(report.payouts)
  for _, row in ipairs(report.balances) do
    term.write(("  %s  balance  here %d, there %d, difference %d\n"):format(row.currency, row.here,
      row.there, row.here - row.there))
  end
end


local function agrees(s, report)
  for _, p in ipairs(report.payouts) do
    if (p.difference or 0) ~= 0 then return false end
  end
  return s.state == "done" and #report.missing_here + #report.missing_there + #report.differs == 0
end


-- Also where a jobs worker was faster and is at it.
local function to_the_end(settlement_id)
  while true do
    local s, e = settlement.run(settlement_id)
    if not s then return nil, e end
    if s.state ~= "running" then return s end
    time.sleep(WAIT_MS)
  end
end


-- -> does it agree? | nil, err
local function one(provider, opts, out)
  local settlement_id, e = sql.transaction(function(tx)
    return settlement.begin(tx, { provider = provider, from_ms = opts.from_ms, to_ms = opts.to_ms,
      actor = "command" })
  end)
  if not settlement_id then return nil, e end
  local s, e2 = to_the_end(settlement_id)
  if not s then return nil, e2 end
  local report, e3 = settlement.report(settlements.get(settlement_id))
  if not report then return nil, e3 end
  if opts.json then
    for _, name in ipairs(LISTS) do report[name] = json.array(report[name]) end
    report.totals, report.balances = json.array(report.totals), json.array(report.balances)
    report.payouts = payout_json.list(report.payouts)
    report.id, report.provider, report.state = s.id, s.provider, s.state
    out[#out + 1] = report
  else
    print_report(s, report)
  end
  return agrees(s, report)
end


local function providers_of(opts)
  if opts.provider then return { opts.provider } end
  local out = dispatch.names "payment.settlement"
  for i, name in ipairs(out) do out[i] = name:match "^payment%-(.+)$" end
  return out
end


local function reconcile(opts)
  local all, out = true, {}
  for _, provider in ipairs(providers_of(opts)) do
    local good, e = one(provider, opts, out)
    if good == nil then return say.refused("payments", e) end
    all = all and good
  end
  if opts.json then term.write(json.encode({ data = json.array(out) }) .. "\n") end
  return all and 0 or 1
end


-- -> ms | nil, sentence
local function at(text, name)
  if text:find "^%d%d%d%d%-%d%d%-%d%d$" then text = text .. "T00:00:00Z" end
  local ms = time.parse(text)
  if ms then return ms end
  return nil, ("--%s: give a day, or a time as 2026-11-01T00:00:00Z"):format(name)
end


local function period(opts)
  local why
  opts.to_ms = math.floor(time.now_ms() / 1000) * 1000
  if opts.to then opts.to_ms, why = at(opts.to, "to") end
  if not opts.to_ms then return nil, why end
  opts.from_ms = opts.to_ms - DAYS_MS
  if opts.from then opts.from_ms, why = at(opts.from, "from") end
  if not opts.from_ms then return nil, why end
  return opts
end


-- -> options | nil, sentence
local function read(args)
  local opts, i, known = {}, 2, OPTIONS[args[1]]
  while args[i] do
    local name = args[i]:match "^%-%-(.+)$"
    if not name and known.id and not opts.id then
      opts.id = args[i]
    elseif name == "id" or not known[name or ""] then
      return nil, args[i] .. ": what is that?"
    elseif name == "json" then
      opts.json = true
    elseif not args[i + 1] then
      return nil, args[i] .. " needs a value"
    else
      i = i + 1
      opts[name] = args[i]
    end
    i = i + 1
  end
  if args[1] == "reconcile" then return period(opts) end
  if args[1] == "payouts" then return opts end
  local wrong
  if args[1] == "close-alert" then
    wrong = alert.misused(opts)
  else
    wrong = attempts.misused(args[1], opts)
  end
  if wrong then return nil, wrong end
  return opts
end


--- @return the exit code
function cli.main(...)
  local args = { ... }
  if args[1] == "--help" then
    term.write(HELP)
    return 0
  end
  if not OPTIONS[args[1] or ""] then
    return say.misused("payments", "list, show, resolve, reconcile, payouts or close-alert?", HELP)
  end
  local opts, why = read(args)
  if not opts then return say.misused("payments", why, HELP) end
  if args[1] == "reconcile" then return reconcile(opts) end
  if args[1] == "payouts" then return cli_payouts.run(opts) end
  if args[1] == "close-alert" then return alert.run(opts) end
  return attempts[args[1]](opts)
end


return cli
