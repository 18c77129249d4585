-- till/cli/stock - `moontill stock check|reconcile|events|alerts`
local alerts = require "till.store.alerts"
local checks = require "till.store.stock_checks"
local compare = require "till.store.stock_compare"
local id = require "till.util.id"
local json = require "till.prim.json"
local reconcile = require "till.flow.reconcile"
local say = require "till.cli.say"
local stock_past = require "till.store.stock_past"
local stock_sums = require "till.store.stock_sums"
local term = require "till.prim.term"
local time = require "till.prim.time"

local HELP = [[
usage: moontill stock check [SKU] [--json]   compare stock, its log, reservations; change nothing
       moontill stock reconcile [--json]     the same and more, and put it right, by events
       moontill stock events SKU [--json]    the last hundred things that happened to it
       moontill stock alerts [--json]        what somebody should know of
]]

local ALL = { variant_id = ("\0"):rep(16), location_id = ("\0"):rep(16) }
local SLICE = 50
local LIST = 100
local SETTLED_MS = 3600000 -- no transaction is open for so long


local function refuse(e)
  return say.refused("stock", e)
end


local function print_rows(rows, is_json, line)
  for i = LIST + 1, #rows do rows[i] = nil end
  if is_json then
    term.write(json.encode({ data = json.array(rows) }) .. "\n")
  else
    for _, row in ipairs(rows) do term.write(line(row) .. "\n") end
  end
end


-- ---- check -----------------------------------------------------------------------------------

local function to_difference(row)
  return { sku = row.sku, variant_id = id.text("var", row.variant_id),
    location_id = id.text("loc", row.location_id), on_hand = row.on_hand, reserved = row.reserved,
    log_on_hand = row.log_on_hand, log_reserved = row.log_reserved, held = row.held }
end


-- What is too much for one statement is added up in steps.
local function differing(keys)
  local rows, e = reconcile.look(keys)
  if rows or e.code ~= "timeout" then return rows, e end
  local settled, out = time.now_ms() - SETTLED_MS, {}
  for _, key in ipairs(keys) do
    local sum, e2 = stock_sums.add(key, 0, settled)
    if not sum then return nil, e2 end
    key.at, key.on_hand, key.reserved = time.rfc3339(settled), sum.on_hand, sum.reserved
    rows, e2 = reconcile.look { key }
    if not rows then return nil, e2 end
    out[#out + 1] = rows[1]
  end
  return out
end


local function look(keys, found)
  local rows, e = differing(keys)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do found[#found + 1] = to_difference(row) end
  return true
end


-- From the log's beginning: what checkpoints say is not believed.
local function rewound(keys)
  for _, key in ipairs(keys) do key.at, key.on_hand, key.reserved = nil, 0, 0 end
  return keys
end


local function look_at_all(found)
  local at, n = ALL, 0
  while true do
    local keys, e = compare.slice(at, SLICE)
    if not keys then return nil, e end
    if #keys == 0 then return n end
    local ok, e2 = look(rewound(keys), found)
    if not ok then return nil, e2 end
    at, n = keys[#keys], n + #keys
  end
end


local function look_at_one(found, sku)
  local variant, e = stock_past.variant(sku)
  if variant == nil then return nil, e end
  if not variant then return nil, "there is no variant with the SKU " .. sku end
  local keys, e2 = compare.of_variant(variant)
  if not keys then return nil, e2 end
  local ok, e3 = look(keys, found)
  if not ok then return nil, e3 end
  return #keys
end


local function check(sku, is_json)
  local found = {}
  local look_at = sku and look_at_one or look_at_all
  local n, e = look_at(found, sku)
  if not n then return refuse(e) end
  if is_json then
    term.write(json.encode({ checked = n, differences = json.array(found) }) .. "\n")
  else
    for _, d in ipairs(found) do
      term.write(("%s at %s: %d on hand and %d held; the log says %d and %d, reservations %d\n")
        :format(d.sku, d.location_id, d.on_hand, d.reserved, d.log_on_hand, d.log_reserved,
          d.held))
    end
    term.write(("%d checked, %d differ\n"):format(n, #found))
  end
  return #found == 0 and 0 or 1
end


-- ---- reconcile, events, alerts ---------------------------------------------------------------

local function run(_, is_json)
  local check_id, e = checks.begin(true, "cli")
  if not check_id then return refuse(e) end
  local pass, e2 = reconcile.run(check_id)
  if not pass then return refuse(e2) end
  local rows, e3 = checks.findings { check_id = check_id, limit = LIST }
  if not rows then return refuse(e3) end
  print_rows(rows, is_json, function(row)
    return ("%s  %s  %s  %s"):format(row.kind, row.subject, row.repaired and "repaired" or "look",
      json.encode(row.detail))
  end)
  if not is_json then
    term.write(("check %d: %d checked, %d differ, %d repaired\n"):format(check_id, pass.checked,
      pass.differences, pass.repaired))
  end
  return pass.differences == pass.repaired and 0 or 1
end


local function events(sku, is_json)
  if not sku then return say.misused("stock", "events needs a SKU", HELP) end
  local variant, e = stock_past.variant(sku)
  if variant == nil then return refuse(e) end
  if not variant then return refuse("there is no variant with the SKU " .. sku) end
  local rows, e2 = stock_past.events(variant, { limit = LIST })
  if not rows then return refuse(e2) end
  print_rows(rows, is_json, function(row)
    return ("%d  %s  %-11s %6d  on hand %+d, held %+d  %s  %s  %s  %s"):format(row.id, row.at,
      row.type, row.quantity, row.on_hand_delta, row.reserved_delta, row.location or "-",
      row.reference, row.actor, row.reason)
  end)
  return 0
end


local function list_alerts(_, is_json)
  local rows, e = alerts.list { state = "open", limit = LIST }
  if not rows then return refuse(e) end
  print_rows(rows, is_json, function(row)
    return ("%s  %s  %s  seen %d times, last %s  %s"):format(row.kind, row.subject, row.opened_at,
      row.times, row.seen_at, json.encode(row.detail))
  end)
  return 0
end


local COMMANDS = { check = check, reconcile = run, events = events, alerts = list_alerts }
local TAKES_SKU = { check = true, events = true }
local cli = {}


--- @return the exit code
function cli.main(...)
  local words, is_json = {}, false
  for _, word in ipairs { ... } do
    if word == "--json" then is_json = true else words[#words + 1] = word end
  end
  if words[1] == "--help" then
    term.write(HELP)
    return 0
  end
  local command = COMMANDS[words[1]]
  if not command then
    return say.misused("stock", "check, reconcile, events or alerts?", HELP)
  end
  if words[3] or words[2] and not TAKES_SKU[words[1]] then
    return say.misused("stock", "it takes no " .. (words[3] or words[2]), HELP)
  end
  return command(words[2], is_json)
end


return cli
