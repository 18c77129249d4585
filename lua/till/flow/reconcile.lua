-- till/flow/reconcile - the log of stock, its projection, reservations, orders and what Redis
-- shows, compared for ever; docs/inventory.md has what is compared and what is repaired.
--
--   step()               one slice of the pass that is under way, or begins one when it is time
--                        -> true | nil, err
--   run(pass_id, on_row) all of a pass, at once   -> the pass, done | nil, err
--   look(keys)           -> rows that differ | nil, err; changes nothing
--
-- A slice is SLICE rows of stock: one statement, so one snapshot, with the events since their
-- checkpoints. What is only under way is not in it, and what is found is looked at again under a
-- lock before anything is written. So a pass costs the same in each second, however large the shop.
-- Whoever dies loses a slice that is done again: a finding is noted once a pass, and a repair finds
-- nothing more to do.
--
-- A slice that cannot be added up in time is halved, and meanwhile the checkpoints of rows with
-- long logs move on. A single row that cannot is noted and passed over: the next pass begins at the
-- checkpoint to which this one has come.
local alerts = require "till.store.alerts"
local checks = require "till.store.stock_checks"
local compare = require "till.store.stock_compare"
local conf = require "till.prim.conf"
local fault = require "till.prim.fault"
local findings = require "till.flow.stock_findings"
local id = require "till.util.id"
local log = require "till.prim.log"
local metrics = require "till.prim.metrics"
local sql = require "till.prim.sql"
local stock_sums = require "till.store.stock_sums"
local stock_view = require "till.flow.stock_view"
local time = require "till.prim.time"

-- most_steps: by which checkpoints move on where a slice was too much; jobs wait meanwhile
local reconcile = { most_steps = 50 }

local SLICE = 50
local LAST = ("\255"):rep(16)
local LEASE_MS = 60000
local KEPT_EVENTS = 500 -- that are summed up before a checkpoint spares it
local SETTLED_MS = 3600000 -- no transaction is open for so long
local OVERDUE_MS = 600000

local width = SLICE -- of the next slice, after the last one was too much


local function detail_of(row)
  return { sku = row.sku, on_hand = row.on_hand, reserved = row.reserved,
    log_on_hand = row.log_on_hand, log_reserved = row.log_reserved, held = row.held }
end


local function repair(pass, row, base)
  local reference = pass.repairs == 1 and "check:" .. pass.id or nil
  return sql.transaction(function(tx)
    local found, e = compare.repair(tx, row, reference, base)
    if found == nil then return nil, e end
    if not found then return true end
    fault.crash "reconcile.in_repair"
    local ok, e2 = findings.tell(tx, pass, { kind = "projection", detail = detail_of(found),
      subject = id.text("var", row.variant_id), location_id = row.location_id,
      repaired = found.repaired })
    if ok == nil then return nil, e2 end
    return true
  end)
end


-- Nearly all of the log of { variant_id [, location_id] } is added up before its row is locked:
-- nobody waits for that. -> true, also where it was only a moment's difference
local function put_right(pass, row, fn)
  local settled = time.now_ms() - SETTLED_MS
  local done, e = stock_sums.add(row, 0, settled)
  if done then done, e = fn(pass, row, { at_ms = settled, sum = done }) end
  if done or e.code ~= "timeout" then return done, e end
  return findings.not_summed(pass, row)
end


local function keep_promise(pass, row, base)
  local reference = pass.repairs == 1 and "check:" .. pass.id or nil
  return sql.transaction(function(tx)
    local found, e = compare.repair_promise(tx, row.variant_id, reference, base)
    if found == nil then return nil, e end
    if not found then return true end
    local ok, e2 = findings.tell(tx, pass, { kind = "promised", repaired = found.repaired,
      subject = id.text("var", row.variant_id), detail = { sku = found.sku,
        promised = found.promised, log_promised = found.log_promised, held = found.held } })
    if ok == nil then return nil, e2 end
    return true
  end)
end


local function each(rows, e, fn)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local ok, e2 = fn(row)
    if not ok then return nil, e2 end
  end
  return true
end


function reconcile.look(keys)
  local rows, e = compare.rows(keys)
  if not rows then return nil, e end
  local out = {}
  for _, row in ipairs(rows) do
    if not compare.is_equal(row) then out[#out + 1] = row end
  end
  return out, rows
end


local function place_of(row)
  return row.variant_id .. (row.location_id or "")
end


-- A checkpoint that would stay with more behind it than it should moves on in steps.
local function keep_checkpoint(key, row)
  local settled = time.now_ms() - SETTLED_MS
  if row.events <= stock_sums.keep_events then
    local ok, e = stock_sums.keep(key, settled)
    if ok or e.code ~= "timeout" then return ok, e end
  end
  return stock_sums.catch_up({ key }, settled, reconcile.most_steps)
end


local function keep_checkpoints(keys, rows, is_equal)
  local by = {}
  for _, key in ipairs(keys) do by[place_of(key)] = key end
  return each(rows, nil, function(row)
    if row.events <= KEPT_EVENTS or not is_equal(row) then return true end
    return keep_checkpoint(by[place_of(row)], row)
  end)
end


local function variants_of(keys)
  local out, seen = {}, {}
  for _, key in ipairs(keys) do
    if not seen[key.variant_id] then
      seen[key.variant_id] = true
      out[#out + 1] = key.variant_id
    end
  end
  return out
end


local function reservations(pass, variants)
  local since, e = checks.since(pass)
  if not since then return nil, e end
  local function finding(kind)
    return function(row)
      return findings.note(pass, { kind = kind, subject = id.text("cart", row.cart_id), detail = {
        variant_id = id.text("var", row.variant_id), quantity = row.quantity } })
    end
  end
  local lost, e2 = compare.lost_sales(variants, since)
  local ok, e3 = each(lost, e2, finding "sale_without_order")
  if not ok then return nil, e3 end
  local late, e4 = compare.overdue(variants, time.now_ms() - OVERDUE_MS)
  return each(late, e4, finding "held_too_long")
end


-- What was wrong there is forgotten at once: the next reader brings what the tables say.
local function shown(pass, variants)
  local ids = {}
  for i, variant in ipairs(variants) do ids[i] = id.text("var", variant) end
  local wrong, e = stock_view.differs(ids)
  if not wrong then return nil, e end
  for variant_id, found in pairs(wrong) do
    local ok, e2 = findings.note(pass, { kind = "read_model", subject = variant_id, detail = found,
      repaired = true })
    if not ok then return nil, e2 end
  end
  return true
end


-- Each by itself: of one that cannot be added up in time the next pass begins farther on.
local function promises_one_by_one(pass, keys)
  local out = {}
  local ok, e = each(keys, nil, function(key)
    local rows, e2 = compare.promises { key }
    if rows then
      out[#out + 1] = rows[1]
      return true
    end
    if e2.code ~= "timeout" then return nil, e2 end
    return findings.not_summed(pass, { variant_id = key.variant_id })
  end)
  return ok and out, e
end


-- Of variants after the last one of the slice before.
local function promises(pass, last)
  local keys, e = compare.promised(pass.variant_id, last)
  if not keys then return nil, e end
  local rows, e2 = compare.promises(keys)
  if not rows and e2.code == "timeout" then
    local moved, e3 = stock_sums.catch_up(keys, time.now_ms() - SETTLED_MS, reconcile.most_steps)
    if not moved then return nil, e3 end
    rows, e2 = promises_one_by_one(pass, keys)
  end
  local ok, e4 = each(rows, e2, function(row)
    return compare.is_kept(row) or put_right(pass, row, keep_promise)
  end)
  if not ok then return nil, e4 end
  return keep_checkpoints(keys, rows, compare.is_kept)
end


-- -> rows that differ, all rows; false: it is done again with fewer | nil, err
local function look_or_halve(pass, keys)
  local wrong, rows = reconcile.look(keys)
  if wrong or rows.code ~= "timeout" then
    if wrong then width = math.min(SLICE, width * 2) end
    return wrong, rows
  end
  local moved, e = stock_sums.catch_up(keys, time.now_ms() - SETTLED_MS, reconcile.most_steps)
  if not moved then return nil, e end
  if #keys > 1 then
    width = math.ceil(#keys / 2)
    return false
  end
  wrong, rows = reconcile.look(keys)
  if wrong or rows.code ~= "timeout" then return wrong, rows end
  local ok, e2 = findings.not_summed(pass, keys[1])
  if not ok then return nil, e2 end
  return {}, {}
end


-- -> true; false: it is done again with fewer | nil, err
local function slice(pass, keys)
  local wrong, rows = look_or_halve(pass, keys)
  if wrong == false then return false end
  local ok, e = each(wrong, rows, function(row) return put_right(pass, row, repair) end)
  if not ok then return nil, e end
  ok, e = promises(pass, keys[#keys].variant_id)
  if not ok then return nil, e end
  local variants = variants_of(keys)
  for _, fn in ipairs { reservations, shown } do
    ok, e = fn(pass, variants)
    if not ok then return nil, e end
  end
  metrics.add("till_stock_checked_rows_total", nil, #keys)
  return keep_checkpoints(keys, rows, compare.is_equal)
end


local function finish(pass)
  local kept, e0 = promises(pass, LAST)
  if not kept then return nil, e0 end
  local since, e = checks.since(pass)
  if not since then return nil, e end
  local rows, e2 = compare.orders_without(since, time.now_ms())
  local ok, e3 = each(rows, e2, function(row)
    return findings.note(pass, { kind = "order_without_sale", subject = id.text("ord", row.id),
      detail = {} })
  end)
  if not ok then return nil, e3 end
  local closed, e4 = alerts.close_unseen(findings.ALERT, checks.began(pass))
  if closed == nil then return nil, e4 end
  local done, e5 = checks.finish(pass)
  if done == nil then return nil, e5 end
  log.info("stock.checked", { check = pass.id })
  return true
end


-- -> are there more? | nil, err
local function go_on(pass)
  local keys, e = compare.slice(pass, width)
  if not keys then return nil, e end
  if #keys == 0 then
    local ok, e2 = finish(pass)
    if not ok then return nil, e2 end
    return false
  end
  local ok, e3 = slice(pass, keys)
  if ok == nil then return nil, e3 end
  fault.crash "reconcile.before_advance"
  local last, n = keys[#keys], #keys
  if not ok then last, n = pass, 0 end
  ok, e3 = checks.advance(pass, last, n)
  if ok == nil then return nil, e3 end
  return true
end


local function is_time()
  local interval_ms = conf.get("stock.check_interval_s") * 1000
  if interval_ms == 0 then return false end
  local last, e = checks.last()
  if last == nil then return nil, e end
  return not last or last.state == "done" and checks.is_over(last, interval_ms)
end


function reconcile.step()
  local pass, e = checks.claim(LEASE_MS)
  if pass == nil then return nil, e end
  if pass then
    local more, e2 = go_on(pass)
    if more == nil then return nil, e2 end
    return true
  end
  local due, e3 = is_time()
  if not due then
    if due == nil then return nil, e3 end
    return true
  end
  return checks.begin(conf.get("stock.check_repairs"), "system")
end


--- Another worker may take slices of it as well; then this one waits for the rest.
function reconcile.run(pass_id, on_slice)
  while true do
    local pass, e = checks.get(pass_id)
    if not pass then return nil, e end
    if pass.state == "done" then return pass end
    local claimed, e2 = checks.claim(LEASE_MS)
    if claimed == nil then return nil, e2 end
    if claimed then
      local more, e3 = go_on(claimed)
      if more == nil then return nil, e3 end
    else
      time.sleep(50)
    end
    if on_slice then on_slice(pass) end
  end
end


return reconcile
