-- till/cli/payments/attempts - `moontill payments list`, `show` and `resolve`: attempts to be paid,
-- and the verdict of staff on one whose provider never tells. The same functions as the admin
-- API's, with the same audit.
--
--   attempts.list(opts) -> exit code       opts { state, json }
--   attempts.show(opts)                    opts { id, json }
--   attempts.resolve(opts)                 opts { id, as, reason, author }
--   attempts.misused(name, opts) -> nil, or a sentence
local attempt_events = require "till.store.payment_events"
local booking = require "till.flow.booking"
local id = require "till.util.id"
local json = require "till.prim.json"
local payment_states = require "till.flow.payment_states"
local payments = require "till.store.payments"
local render = require "till.http.render"
local say = require "till.cli.say"
local sql = require "till.prim.sql"
local term = require "till.prim.term"
local text = require "till.util.text"
local verdict = require "till.flow.payment_verdict"
local views = require "till.http.views"

local attempts = {}

local MOST = 200
local AMOUNTS = { "authorized", "captured", "voided", "refunded", "disputed", "lost", "left" }


local function refuse(e)
  return say.refused("payments", e)
end


local function one_of(list, value)
  for _, known in ipairs(list) do
    if known == value then return true end
  end
  return false
end


function attempts.misused(name, opts)
  if name == "list" then
    if opts.state and not one_of(payment_states:states(), opts.state) then
      return "--state: there is no state " .. opts.state
    end
    return nil
  end
  if not opts.id or not id.valid("pay", opts.id) then
    return name .. " needs the id of a payment (pay_…)"
  end
  if name == "show" then return nil end
  if not one_of(verdict.KINDS, opts.as) then
    return "--as: " .. text.list(verdict.KINDS, "or") .. "?"
  elseif not opts.reason or opts.reason == "" or #opts.reason > 255 then
    return "resolve needs a --reason, of up to 255 bytes"
  elseif #(opts.author or "") > 50 then
    return "--author: at most 50 bytes"
  end
end


-- A provider's words may hold what a terminal takes for orders.
local function plain(words)
  return (words:gsub("%c", "?"))
end


function attempts.list(opts)
  local rows, e = payments.list { state = opts.state or "unknown", limit = MOST }
  if not rows then return refuse(e) end
  rows[MOST + 1] = nil
  if opts.json then
    for i, p in ipairs(rows) do rows[i] = views.payment(p) end
    term.write(json.encode({ data = json.array(rows) }) .. "\n")
    return 0
  end
  for _, p in ipairs(rows) do
    term.write(("%s  %s  %-8s %d %s  %s  %s\n"):format(p.id, p.created_at, p.provider, p.amount,
      p.currency, p.order_id or p.cart_id or "-", plain(p.reason or "")))
  end
  if #rows == 0 then term.write("no payment is " .. (opts.state or "unknown") .. "\n") end
  return 0
end


local function read(payment_id)
  local p, e = payments.get(payment_id)
  if p == nil then return nil, e end
  if not p then return nil, "there is no payment " .. payment_id end
  return p
end


local function print_one(p, amounts, events)
  term.write(("%s  %s  %s  %d %s, in minor units\n"):format(p.id, p.provider, p.state, p.amount,
    p.currency))
  term.write(("  order %s, cart %s, there %s\n"):format(p.order_id or "-", p.cart_id or "-",
    plain(p.provider_ref or "-")))
  local parts = {}
  for i, name in ipairs(AMOUNTS) do parts[i] = ("%s %d"):format(name, amounts[name]) end
  term.write("  " .. table.concat(parts, ", ") .. "\n")
  if p.reason then term.write("  because: " .. plain(p.reason) .. "\n") end
  if p.state == "authorized" and p.authorization_expires_at then
    term.write("  held until " .. p.authorization_expires_at .. "\n")
  end
  for _, event in ipairs(events) do
    term.write(("  %s  %-15s %10d  %s  %s  %s\n"):format(event.at, event.event, event.amount,
      plain(event.reference or "-"), plain(event.actor), plain(event.reason or "")))
  end
end


function attempts.show(opts)
  local p, e = read(opts.id)
  if not p then return refuse(e) end
  local events, e2 = attempt_events.of(p.id)
  if not events then return refuse(e2) end
  local amounts, e3 = booking.amounts(p.id)
  if not amounts then return refuse(e3) end
  if opts.json then
    local out = views.payment(p)
    out.events = render.list(events)
    term.write(json.encode({ payment = out }) .. "\n")
  else
    print_one(p, amounts, events)
  end
  return 0
end


-- The provider is asked first, and what it says wins.
function attempts.resolve(opts)
  local by = { actor = opts.author and "command:" .. opts.author or "command",
    reason = opts.reason }
  local ok, e = verdict.look_up(opts.id, opts.as)
  if not ok then return refuse(e) end
  local p, e2 = sql.transaction(function(tx) return verdict.give(tx, opts.id, opts.as, by) end)
  if not p then return refuse(e2) end
  term.write(("%s  %s\n"):format(p.id, p.state))
  return 0
end


return attempts
