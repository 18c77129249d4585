-- till/cli/payments/payouts - `moontill payments payouts`: what providers paid out to the bank, as
-- the reconciliation has found it.
--
--   run(opts) -> exit code        opts { id: a number or the provider's id, provider, json }
--   print(payouts)                a line each
local json = require "till.prim.json"
local payout_json = require "till.http.payout_json"
local payouts = require "till.store.payouts"
local say = require "till.cli.say"
local term = require "till.prim.term"
local text = require "till.util.text"

local cli = {}

local MOST, PAGE = 200, 100


local function plain(words)
  return (tostring(words):gsub("%c", "?"))
end


local function held(p)
  if not p.movements then return p.is_listed == 0 and "is not told" or "is not known yet" end
  return ("%d movements of %d, difference %d"):format(p.movements, p.movements_amount,
    p.difference)
end


function cli.print(list)
  for _, p in ipairs(list) do
    term.write(("  payout %d  %s  %s  %d %s  at %s  %s  holds: %s%s\n"):format(p.id, p.provider,
      plain(p.reference), p.amount, p.currency, p.at, p.state, held(p),
      p.reason and "  because: " .. plain(p.reason) or ""))
  end
end


local function list(opts)
  local rows, e = payouts.list { provider = opts.provider, limit = MOST }
  if not rows then return say.refused("payments", e) end
  rows[MOST + 1] = nil
  if opts.json then
    term.write(json.encode({ data = payout_json.list(rows) }) .. "\n")
    return 0
  end
  cli.print(rows)
  if #rows == 0 then term.write("no payout was found yet\n") end
  return 0
end


-- All of them: somebody compares them with a statement.
local function movements(p)
  local out, after = {}, nil
  repeat
    local rows, e = payouts.items(p, { limit = PAGE, after = after })
    if not rows then return nil, e end
    local n = math.min(#rows, PAGE)
    for i = 1, n do out[#out + 1] = rows[i] end
    after = rows[PAGE + 1] and { rows[n].id }
  until not after
  return out
end


local function show(p, opts)
  local items, e = movements(p)
  if not items then return say.refused("payments", e) end
  if opts.json then
    for i, item in ipairs(items) do items[i] = payout_json.item(item) end
    local out = payout_json.of(p)
    out.items = json.array(items)
    term.write(json.encode({ payout = out }) .. "\n")
    return 0
  end
  cli.print { p }
  for _, i in ipairs(items) do
    term.write(("  %s  %-16s %10d  fee %d  %s  %s  %s  %s\n"):format(i.at, i.kind, i.amount, i.fee,
      i.verdict, plain(i.reference), plain(i.source or "-"), i.payment_id or "-"))
  end
  return 0
end


function cli.run(opts)
  if not opts.id then return list(opts) end
  local found, e = payouts.named(opts.id, opts.provider)
  if not found then return say.refused("payments", e) end
  if #found == 0 then return say.refused("payments", "there is no payout " .. plain(opts.id)) end
  if found[2] then
    local names = {}
    for i, p in ipairs(found) do names[i] = p.provider end
    return say.refused("payments", ("there is one of %s: name one with --provider")
      :format(text.list(names, "and")))
  end
  return show(found[1], opts)
end


return cli
