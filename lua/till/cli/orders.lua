-- till/cli/orders - `moontill orders`: what is owed for an order that was placed, and asking the
-- shopper to pay it with a new payment. The same functions as the admin API's, with the same audit.
local amount_due = require "till.flow.amount_due"
local audit = require "till.store.audit"
local err = require "till.util.err"
local id = require "till.util.id"
local json = require "till.prim.json"
local orders = require "till.store.orders"
local payment_request = require "till.flow.payment_request"
local payment_request_json = require "till.http.payment_request_json"
local render = require "till.http.render"
local say = require "till.cli.say"
local sql = require "till.prim.sql"
local term = require "till.prim.term"

local HELP = [[
usage: moontill orders due ORDER [--json]
           what is owed for it that no payment holds, and what the shopper is asked for
       moontill orders request-payment ORDER --reason TEXT [--amount N] [--currency CODE]
                                      [--instead-of PAYMENT] [--author NAME] [--json]
           ask the shopper to pay it with a new payment; in place of what was asked for before
       --reason TEXT          for the shopper, of up to 255 bytes
       --amount N             in minor units (1999 is 19.99); without it all that is owed
       --currency CODE        that of the amount: refused where the order has another one
       --instead-of PAYMENT   a payment that holds money which will never come: it is let go of
                              at its provider first
       moontill orders withdraw-request ORDER [--author NAME] [--json]
           ask for it no more; what the shopper pays from then on is given back
ORDER is its id (ord_…) or its number; --author says who, for audit and timeline.
docs/payments.md#paying-an-order-anew says what may be. Exit code 1 where it was refused.
]]

local OPTIONS = {
  due = {},
  ["request-payment"] = { reason = 255, amount = 16, currency = 3, ["instead-of"] = 40,
    author = 50 },
  ["withdraw-request"] = { author = 50 },
}
-- What is wrong with a wish -> the option that said it.
local NAMES = { ["/amount/amount"] = "--amount", ["/amount/currency"] = "--currency",
  ["/instead_of"] = "--instead-of" }

local cli, commands = {}, {}


local function misuse(sentence)
  return say.misused("orders", sentence, HELP)
end


local function refuse(e)
  local first = err.is(e, "invalid_request") and type(e.errors) == "table" and e.errors[1]
  local name = first and NAMES[first.pointer]
  return say.refused("orders", name and name .. ": " .. first.detail or e)
end


local function find(opts)
  local wanted = opts.id
  local order, e
  if wanted:find "^ord_" then
    order, e = orders.get(wanted)
  else
    local rows
    rows, e = orders.list { number = tonumber(wanted), limit = 1 }
    order = rows and (rows[1] or false)
    if order then order, e = orders.get(order.id) end
  end
  if order == nil then return nil, e end
  return order or nil, "there is no order " .. wanted
end


local function actor_of(opts)
  return opts.author and "command:" .. opts.author or "command"
end


local function note(tx, order, opts, action, detail)
  return audit.add({ actor = actor_of(opts), action = "payment_request." .. action,
    subject = order.id, detail = detail }, tx)
end


local function print_request(order, found)
  local r = found.request
  term.write(("%s  order %s  asked for %d %s, in minor units; due %d  by %s at %s: %s\n"):format(
    order.id, order.number, r.amount, order.currency, found.due, r.actor, r.asked_at,
    (r.reason:gsub("%c", "?"))))
end


function commands.due(order, opts)
  local found, e = amount_due.of(order)
  if not found then return refuse(e) end
  local asked = found.request
  if opts.json then
    term.write(json.encode { order_id = order.id,
      owed = render.money(found.owed, order.currency),
      lost = render.money(found.lost, order.currency),
      amount_due = render.money(found.due, order.currency),
      payment_request = asked and payment_request_json.of(found, order) or json.null } .. "\n")
    return 0
  end
  term.write(("%s  order %s  owed %d, lost to banks %d, due %d %s, in minor units\n"):format(
    order.id, order.number, found.owed, found.lost, found.due, order.currency))
  if asked then print_request(order, found) end
  return 0
end


commands["request-payment"] = function(order, opts)
  local wish = { amount = opts.amount, currency = opts.currency, reason = opts.reason,
    instead_of = opts["instead-of"] }
  local detail = { amount = wish.amount, reason = wish.reason, instead_of = wish.instead_of }
  function wish.noted(tx)
    return note(tx, order, opts, "let_go", { reason = wish.reason, instead_of = wish.instead_of })
  end
  local function transaction(fn)
    return sql.transaction(function(tx)
      local made, e = fn(tx)
      if made then
        local ok, e2 = note(tx, order, opts, "ask", detail)
        if not ok then return nil, e2 end
      end
      return made, e
    end)
  end
  local found, e = payment_request.ask(order.id, wish, actor_of(opts), transaction,
    function(_, asked) return asked end)
  if not found then return refuse(e) end
  if opts.json then
    term.write(json.encode { payment_request = payment_request_json.of(found, order) } .. "\n")
  else
    print_request(order, found)
  end
  return 0
end


commands["withdraw-request"] = function(order, opts)
  local done, e = sql.transaction(function(tx)
    local now, e2 = payment_request.withdraw(tx, order.id, actor_of(opts))
    if not now then return nil, e2 end
    return note(tx, order, opts, "withdraw", {})
  end)
  if not done then return refuse(e) end
  if opts.json then
    term.write(json.encode { amount_due = render.money(0, order.currency) } .. "\n")
  else
    term.write(("%s  order %s  nothing is asked for any more\n"):format(order.id, order.number))
  end
  return 0
end


-- ---- words of the command line -------------------------------------------------------------

-- -> what is wrong with it | nil
local function take(known, opts, name, value)
  local most = known[name]
  if not most then return "there is no option --" .. name end
  if not value or value == "" then return "--" .. name .. " needs a value" end
  if #value > most then return ("--%s: at most %d bytes"):format(name, most) end
  if name == "amount" then
    if not value:find "^%d+$" or tonumber(value) > 2 ^ 53 then
      return "--amount: a whole number of minor units (1999 is 19.99)"
    end
    value = tonumber(value)
  elseif name == "instead-of" and not id.valid("pay", value) then
    return "--instead-of: the id of a payment (pay_…)"
  end
  opts[name] = value
end


local function misused(command, opts)
  if not opts.id or not (opts.id:find "^%d+$" and #opts.id <= 15 or id.valid("ord", opts.id)) then
    return command .. " needs an order: its id (ord_…) or its number"
  elseif command == "request-payment" and not opts.reason then
    return "request-payment needs a --reason, which the shopper reads"
  elseif opts.currency and not opts.amount then
    return "--currency goes with --amount"
  end
end


-- -> options | nil, sentence
local function read(args)
  local opts, i, known = {}, 2, OPTIONS[args[1]]
  while args[i] do
    local name, wrong = args[i]:match "^%-%-(.+)$", nil
    if name == "json" then
      opts.json = true
    elseif name then
      i = i + 1
      wrong = take(known, opts, name, args[i])
    elseif not opts.id then
      opts.id = args[i]
    else
      wrong = args[i] .. ": what is that?"
    end
    if wrong then return nil, wrong end
    i = i + 1
  end
  local wrong = misused(args[1], opts)
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
    return misuse((args[1] or "what") .. ": due, request-payment or withdraw-request?")
  end
  local opts, why = read(args)
  if not opts then return misuse(why) end
  local order, e = find(opts)
  if not order then return refuse(e) end
  return commands[args[1]](order, opts)
end


return cli
