-- till/store/inventory - stock as staff see it: by SKU, at places, and what they say of it.
-- docs/inventory.md has the policies: counts, overrides, transfers.
--
--   get(sku [, { as_of =, location = }] [, tx])
--                       -> { sku, variant_id, on_hand, reserved, available, version, locations }
--                          | false | nil, err       as_of: by the log, without a version
--   adjust(tx, change)  change { sku, location, delta | set_to, expected_quantity, override,
--                       reason, actor, reference } -> { variant_id, location, before, on_hand,
--                       reserved, released = carts } | nil, err
--   count(tx, change)   { …, quantity, taken_at | event_id, override } -> as adjust, with
--                       moved = units that came and went since | nil, err
--   transfer(tx, change)   { …, from, to, quantity, expected_quantity } -> { variant_id }
--
-- What is held for shoppers is never taken from them by the way: less than that is a conflict.
-- With `override` whole carts lose what they hold, the youngest first, but none that is being
-- completed: somebody may be paying for it. Units that come in go to who waits for them.
local allotment = require "till.store.allotment"
local db = require "till.store.db"
local err = require "till.util.err"
local json = require "till.prim.json"
local id = require "till.util.id"
local sql = require "till.prim.sql"
local reservations = require "till.store.reservations"
local stock_log = require "till.store.stock_log"
local stock_past = require "till.store.stock_past"

local inventory = {}

local MAIN = "main"
local MOST_CARTS = 500 -- that one override may let go of


local function sum_up(out, rows)
  out.on_hand, out.reserved, out.locations = 0, 0, json.array {}
  for i, row in ipairs(rows) do
    out.on_hand, out.reserved = out.on_hand + row.on_hand, out.reserved + row.reserved
    if row.version then out.version = (out.version or 0) + row.version end
    out.locations[i] = { location = row.code, enabled = row.enabled and row.enabled == 1,
      on_hand = row.on_hand, reserved = row.reserved, available = row.on_hand - row.reserved }
  end
  out.available = out.on_hand - out.reserved
  return out
end


local function present(conn, variant_bin, location)
  return conn:query("SELECT l.code, l.enabled, s.on_hand, s.reserved, s.version FROM stock s"
    .. " JOIN locations l ON l.id = s.location_id WHERE s.variant_id = ? AND (? OR l.code = ?)"
    .. " ORDER BY l.priority, l.code", variant_bin, location == nil, location or "")
end


function inventory.get(sku, opts, tx)
  local conn, at = db.on(tx), opts or {}
  local variant, e = stock_past.variant(sku, tx)
  if not variant then return variant, e end
  local rows
  if at.as_of then
    rows, e = stock_past.as_of(variant, at.as_of, at.location, tx)
  else
    rows, e = present(conn, sql.bytes(variant), at.location)
  end
  if not rows then return nil, e end
  local out = sum_up({ sku = sku, variant_id = id.text("var", variant), as_of = at.as_of }, rows)
  if not at.as_of then out.version = out.version or 0 end
  return out
end


local function place(tx, code)
  local location, e = tx:one("SELECT id FROM locations WHERE code = ?", code)
  if location == false then
    return nil, err.new("not_found", "there is no location " .. code)
  end
  if not location then return nil, e end
  return location.id
end


local function variant_of(tx, sku)
  local variant, is_bundle = stock_past.variant(sku, tx)
  if variant == false then
    return nil, err.new("not_found", "there is no variant with the SKU " .. sku)
  elseif variant and is_bundle then
    return nil, err.new("conflict", sku .. " is a bundle: its stock is that of its parts")
  end
  return variant, is_bundle
end


-- A row of `stock` as a pair of parameters and what events are made of.
local function spot(tx, sku, code)
  local variant, e = variant_of(tx, sku)
  if not variant then return nil, e end
  local location, e2 = place(tx, code)
  if not location then return nil, e2 end
  return { variant = variant, location = location, code = code, vbin = sql.bytes(variant),
    lbin = sql.bytes(location) }
end


local function locked(tx, at)
  return tx:one("SELECT on_hand, reserved FROM stock WHERE variant_id = ? AND location_id = ?"
    .. " FOR UPDATE", at.vbin, at.lbin)
end


-- It is made only where it is not there: an INSERT of what is there locks it for reading, and two
-- who have done that stand in each other's way.
local function lock_row(tx, at)
  local row, e = locked(tx, at)
  if row ~= false then return row, e end
  local ok, e2 = tx:exec("INSERT IGNORE INTO stock (variant_id, location_id) VALUES (?, ?)",
    at.vbin, at.lbin)
  if not ok then return nil, e2 end
  return locked(tx, at)
end


-- The sum; its event is the caller's to log.
local function move(tx, at, event)
  local ok, e = tx:exec("UPDATE stock SET on_hand = on_hand + ?, version = version + 1"
    .. " WHERE variant_id = ? AND location_id = ?", event.on_hand, at.vbin, at.lbin)
  if not ok then return nil, e end
  event.variant, event.location, event.quantity = at.variant, at.location, event.on_hand
  return true
end


local function expected(row, wanted)
  if not wanted or wanted == row.on_hand then return true end
  return nil, err.new("precondition_failed", ("there are %d, not %d; look again and decide")
    :format(row.on_hand, wanted))
end


local function too_few(row, wanted)
  if wanted < 0 then
    return err.new("conflict", ("there are %d: there cannot be %d"):format(row.on_hand, wanted))
  end
  return err.new("conflict", ("%d are held for shoppers: there cannot be %d. With override the"
    .. " last carts lose what they hold"):format(row.reserved, wanted))
end


-- ---- overrides -----------------------------------------------------------------------------

-- Carts are locked before what they hold, as everywhere; one that somebody changes just now is
-- passed over, so nobody waits in a circle. `seen`: those that were taken already.
local function youngest_cart(tx, at, seen)
  local rows, e = tx:query("SELECT cart_id FROM reservations WHERE variant_id = ?"
    .. " AND location_id = ? AND state = 'held' ORDER BY id DESC LIMIT 1000", at.vbin, at.lbin)
  if not rows then return nil, e end
  for _, row in ipairs(rows) do
    local cart, e2 = false, nil
    if not seen[row.cart_id] then
      cart, e2 = tx:one("SELECT id FROM carts WHERE id = ? AND state <> 'completing'"
        .. " FOR UPDATE SKIP LOCKED", sql.bytes(row.cart_id))
    end
    if cart == nil then return nil, e2 end
    if cart then return cart.id end
  end
  return false
end


-- What the next cart holds, locked, is added to `out`. -> units of it at that place | nil, err
local function lock_next(tx, at, out, reserved)
  local cart, e = youngest_cart(tx, at, out.seen)
  if cart == nil then return nil, e end
  if not cart then
    return nil, err.new("conflict", ("%d are held by carts that are being paid for;"
      .. " wait for them"):format(reserved))
  end
  local rows, e2 = reservations.lock(tx, id.text("cart", cart))
  if not rows then return nil, e2 end
  out.seen[cart] = true
  if #rows > 0 then out.carts[#out.carts + 1] = id.text("cart", cart) end
  local n = 0
  for _, row in ipairs(rows) do
    out.rows[#out.rows + 1] = row
    if row.variant_id == at.variant and row.location_id == at.location then n = n + row.quantity end
  end
  return n
end


-- What is held comes down to what there will be. All that the carts hold is locked before any row
-- of stock, as the job that ends reservations does. -> the carts that lost it | nil, err
local function make_room(tx, at, wanted_of)
  local out, freed = { seen = {}, carts = {}, rows = {} }, 0
  for _ = 1, MOST_CARTS do
    local row, e = tx:one("SELECT on_hand, reserved FROM stock WHERE variant_id = ?"
      .. " AND location_id = ?", at.vbin, at.lbin)
    if row == nil then return nil, e end
    local wanted, why
    if row then wanted, why = wanted_of(row) end
    if row and not wanted then return nil, why end
    if not row or row.reserved - freed <= math.max(0, wanted) then
      local ok, e2 = reservations.let_go(tx, out.rows, "released")
      return ok and out.carts, e2
    end
    local n, e3 = lock_next(tx, at, out, row.reserved - freed)
    if not n then return nil, e3 end
    freed = freed + n
  end
  return nil, err.new("conflict", ("more than %d carts hold it; take less, or do it again")
    :format(MOST_CARTS))
end


--- @param wanted_of(row, is_locked)  what there is to be | nil, err
local function settle(tx, at, change, event, wanted_of)
  local released, e = {}, nil
  if change.override then released, e = make_room(tx, at, wanted_of) end
  if not released then return nil, e end
  local row, e2 = lock_row(tx, at)
  if not row then return nil, e2 end
  local ok, why = expected(row, change.expected_quantity)
  if not ok then return nil, why end
  local wanted, why2 = wanted_of(row, true)
  if not wanted then return nil, why2 end
  if wanted < math.max(0, row.reserved) then return nil, too_few(row, wanted) end
  event.on_hand = wanted - row.on_hand
  ok, why = move(tx, at, event)
  if ok then ok, why = stock_log.add(tx, { event }) end
  if ok and event.on_hand > 0 then ok, why = allotment.arrived(tx, at.variant, at.location) end
  if not ok then return nil, why end
  return { variant_id = id.text("var", at.variant), location = at.code, before = row.on_hand,
    on_hand = wanted, reserved = row.reserved, released = released }
end


local function event_of(change, kind)
  return { type = kind, reason = change.reason, actor = change.actor,
    reference = change.reference }
end


--- `set_to` says how many there are now: it is a count of this moment.
function inventory.adjust(tx, change)
  local at, e = spot(tx, change.sku, change.location or MAIN)
  if not at then return nil, e end
  local kind = change.set_to and "counted" or change.type or "adjusted"
  return settle(tx, at, change, event_of(change, kind), function(row)
    return change.set_to or row.on_hand + change.delta
  end)
end


-- ---- counts --------------------------------------------------------------------------------

-- What the log says of that time is put right; what came and went since stays on top. Asked again
-- under the lock of the row: then nobody can say anything in between.
local function counted(tx, at, change, past, row, is_locked)
  local was, stale = stock_past.on_hand_at(tx, at, past, row, is_locked)
  if was == nil then return nil, stale end
  if stale then
    return nil, err.new("conflict", "somebody has said how many there are since this count was"
      .. " taken; count again")
  end
  return row.on_hand + change.quantity - was, was
end


--- Taken at some time, applied now.
function inventory.count(tx, change)
  local at, e = spot(tx, change.sku, change.location or MAIN)
  if not at then return nil, e end
  local known, e2 = stock_past.is_known(change, tx)
  if known == nil then return nil, e2 end
  if not known then
    return nil, err.new("invalid_request", "there is no event of that number yet", { errors = {
      { pointer = "/event_id", detail = "must be an event of the log", code = "range" } } })
  end
  local past, e3 = stock_past.before(tx, at, change)
  if not past then return nil, e3 end
  local was
  local done, why = settle(tx, at, change, event_of(change, "counted"), function(row, is_locked)
    local wanted, why = counted(tx, at, change, past, row, is_locked)
    if not wanted then return nil, why end
    was = why
    return wanted
  end)
  if done then done.moved = done.before - was end
  return done, why
end


-- ---- transfers -----------------------------------------------------------------------------

local function lock_both(tx, from, to)
  local first, second = from, to
  if to.location < from.location then first, second = to, from end
  local one, e = lock_row(tx, first)
  if not one then return nil, e end
  local other, e2 = lock_row(tx, second)
  if not other then return nil, e2 end
  return first == from and one or other
end


function inventory.transfer(tx, change)
  if change.from == change.to then
    return nil, err.new("invalid_request", "name two locations")
  end
  local from, e = spot(tx, change.sku, change.from)
  if not from then return nil, e end
  local to, e2 = spot(tx, change.sku, change.to)
  if not to then return nil, e2 end
  local row, e3 = lock_both(tx, from, to)
  if not row then return nil, e3 end
  local ok, why = expected(row, change.expected_quantity)
  if not ok then return nil, why end
  if row.on_hand - row.reserved < change.quantity then
    return nil, err.new("conflict", ("%d of %d at %s are not held for shoppers: %d cannot go")
      :format(row.on_hand - row.reserved, row.on_hand, change.from, change.quantity))
  end
  local gone, come = event_of(change, "transferred"), event_of(change, "transferred")
  gone.on_hand, come.on_hand = -change.quantity, change.quantity
  ok, why = move(tx, from, gone)
  if ok then ok, why = move(tx, to, come) end
  if ok then ok, why = stock_log.add(tx, { gone, come }) end -- of one time: no unit is at both
  if not ok then return nil, why end
  ok, why = allotment.arrived(tx, to.variant, to.location)
  if not ok then return nil, why end
  return { variant_id = id.text("var", from.variant) }
end


return inventory
