-- till/http/admin_api/inventory - what is there of a SKU, what happened to it, and putting it
-- right: adjustments, counts, transfers, thresholds. docs/inventory.md has the policies.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local catalog = require "till.flow.catalog"
local err = require "till.util.err"
local id = require "till.util.id"
local inventory = require "till.store.inventory"
local json = require "till.prim.json"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local stock_past = require "till.store.stock_past"
local thresholds = require "till.store.thresholds"
local time = require "till.prim.time"

local SKU = { sku = s.string { min = 1, max = 100 } }
local MOST = 1000000000
local QUANTITY = s.integer { min = -MOST, max = MOST }
local UNITS = s.integer { min = 0, max = MOST }
local LOCATION = s.string { min = 1, max = 64 }
local REASON = s.string { min = 1, max = 255 }
local EXPECTED = s.integer { min = 0, doc = "Units that you believe to be there (on_hand of the"
  .. " location); where it is another number nothing happens: 412." }
local OVERRIDE = s.boolean { doc = "Take away from carts what they hold, the youngest first, where"
  .. " there are fewer units than are held. Carts that are being completed keep theirs." }


local function no_sku()
  return err.new("not_found", "there is no variant with this SKU")
end


local function get(ctx)
  local found, e = inventory.get(ctx.params.sku, ctx.query)
  if found == nil then return nil, e end
  if not found then return nil, no_sku() end
  return ctx:json(200, { inventory = found }, { etag = found.version })
end


local function bad(pointer, detail)
  return err.new("invalid_request", detail, { errors = {
    { pointer = pointer, detail = detail, code = "required" } } })
end


local function note_override(tx, ctx, done)
  if not ctx.body.override then return true end
  return audit.add({ actor = actor.of(ctx), action = "inventory.override",
    subject = done.variant_id, request_id = ctx.req.request_id,
    detail = { sku = ctx.params.sku, location = done.location, before = done.before,
      on_hand = done.on_hand, reason = ctx.body.reason, released = json.array(done.released) } },
    tx)
end


-- `fn(tx, change)` -> what was done, `shape(done)` -> { name = what is answered beside the stock }
local function change(ctx, prefix, fn, shape)
  local change_of, variant_id = {}, nil
  for name, value in pairs(ctx.body) do change_of[name] = value end
  change_of.sku, change_of.actor = ctx.params.sku, actor.of(ctx)
  change_of.reference = id.new(prefix)
  local made, e = ctx:transaction(function(tx)
    local done, why = fn(tx, change_of)
    if not done then return nil, why end
    variant_id = done.variant_id
    local ok, why2 = note_override(tx, ctx, done)
    if not ok then return nil, why2 end
    local found, why3 = inventory.get(ctx.params.sku, nil, tx)
    if not found then return nil, why3 end
    local answer = shape(done, change_of)
    answer.inventory = found
    return ctx:json(201, answer, { etag = found.version })
  end)
  if made then catalog.moved({ variant_id }) end
  return made, e
end


local function shape_of(done, given)
  return { id = given.reference, before = done.before, on_hand = done.on_hand,
    location = done.location, reason = given.reason, released = json.array(done.released) }
end


local function adjust(ctx)
  local body = ctx.body
  if (body.delta == nil) == (body.set_to == nil) then
    return nil, bad("/delta", "give delta or set_to, one of them")
  end
  return change(ctx, "adj", function(tx, given)
    given.type = given.delta and given.delta > 0 and given.reason == "received" and "received"
      or nil
    return inventory.adjust(tx, given)
  end, function(done, given) return { adjustment = shape_of(done, given) } end)
end


local function count(ctx)
  local body = ctx.body
  if (body.taken_at == nil) == (body.event_id == nil) then
    return nil, bad("/taken_at", "say when it was taken: taken_at, or event_id, the last event that"
      .. " it knows of")
  elseif body.taken_at and time.parse(body.taken_at) > time.now_ms() then
    return nil, bad("/taken_at", "a count is taken before it is told: this time is yet to come")
  end
  return change(ctx, "cnt", inventory.count, function(done, given)
    local shape = shape_of(done, given)
    shape.quantity, shape.moved_since = given.quantity, done.moved
    return { count = shape }
  end)
end


local function transfer(ctx)
  return change(ctx, "trf", inventory.transfer, function(_, given)
    return { transfer = { id = given.reference, from = given.from, to = given.to,
      quantity = given.quantity, reason = given.reason } }
  end)
end


local function events(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local variant, e2 = stock_past.variant(ctx.params.sku)
  if variant == nil then return nil, e2 end
  if not variant then return nil, no_sku() end
  page.location = ctx.query.location
  local rows, e3 = stock_past.events(variant, page)
  if not rows then return nil, e3 end
  return ctx:json(200, ctx:list(rows, page, nil, function(row) return { row.at, row.id } end))
end


local function shown_thresholds(row)
  return { low_at = row and row.low_at or json.null,
    cover_days = row and row.cover_days or json.null }
end


local function with_variant(ctx)
  local variant, is_bundle = stock_past.variant(ctx.params.sku)
  if variant == false then
    return nil, no_sku()
  elseif variant and is_bundle then
    return nil, err.new("conflict", "a bundle has no stock of its own: set it for its parts")
  end
  return variant, is_bundle
end


local function get_thresholds(ctx)
  local variant, e = with_variant(ctx)
  if not variant then return nil, e end
  local row, e2 = thresholds.get(variant)
  if row == nil then return nil, e2 end
  return ctx:json(200, { thresholds = shown_thresholds(row) })
end


local function put_thresholds(ctx)
  local variant, e = with_variant(ctx)
  if not variant then return nil, e end
  return ctx:transaction(function(tx)
    local ok, why = thresholds.set(tx, variant, ctx.body)
    if ok then
      ok, why = audit.add({ actor = actor.of(ctx), action = "inventory.thresholds",
        subject = id.text("var", variant), detail = ctx.body, request_id = ctx.req.request_id }, tx)
    end
    if not ok then return nil, why end
    local row, why2 = thresholds.get(variant, tx)
    if row == nil then return nil, why2 end
    return ctx:json(200, { thresholds = shown_thresholds(row) })
  end)
end


local EVENT = s.object({
  id = s.integer {}, type = s.string {}, location = s.nullable(s.string {}),
  quantity = s.integer {}, on_hand_delta = s.integer {}, reserved_delta = s.integer {},
  reference = s.string { doc = "A cart, an order, an adjustment, a count, a transfer, a check." },
  reason = s.string {}, actor = s.string {}, at = s.string { format = "date-time" },
}, { additional = true, name = "StockEvent" })

local WHERE = { location = LOCATION }
local WRITES = { "conflict", "precondition_failed" }

return {
  route.get("/admin/v1/inventory/{sku}", {
    summary = "Stock of a SKU, now or at a time", tag = "inventory", auth = "admin",
    permission = "inventory.read", params = SKU,
    query = { as_of = s.string { format = "date-time" }, location = LOCATION },
    returns = { [200] = shapes.one("inventory", s.any {}) }, handler = get,
  }),
  route.get("/admin/v1/inventory/{sku}/events", {
    summary = "What happened to the stock of a SKU, newest first", tag = "inventory",
    auth = "admin", permission = "inventory.read", params = SKU, query = WHERE, page = true,
    returns = { [200] = shapes.list(EVENT) }, handler = events,
  }),
  route.post("/admin/v1/inventory/{sku}/adjustments", {
    summary = "Put the stock right", tag = "inventory", auth = "admin",
    permission = "inventory.write", params = SKU, idempotency = "required",
    body = s.object({ delta = QUANTITY, set_to = UNITS, expected_quantity = EXPECTED,
      location = LOCATION, reason = REASON, override = OVERRIDE }, { required = { "reason" } }),
    returns = { [201] = true }, handler = adjust, errors = WRITES,
  }),
  route.post("/admin/v1/inventory/{sku}/counts", {
    summary = "Say how many were there when they were counted", tag = "inventory", auth = "admin",
    doc = "What was sold, received or moved since the count stays on top of it. Once somebody has"
      .. " said how many there are after the count was taken, it is refused: count again.",
    permission = "inventory.write", params = SKU, idempotency = "required",
    body = s.object({ quantity = UNITS, taken_at = s.string { format = "date-time" },
      event_id = s.integer { min = 0, max = 9007199254740991 }, location = LOCATION,
      reason = REASON, override = OVERRIDE }, { required = { "quantity", "reason" } }),
    returns = { [201] = true }, handler = count, errors = { "conflict" },
  }),
  route.post("/admin/v1/inventory/{sku}/transfers", {
    summary = "Move units from one location to another", tag = "inventory", auth = "admin",
    permission = "inventory.write", params = SKU, idempotency = "required",
    body = s.object({ from = LOCATION, to = LOCATION, quantity = s.integer { min = 1, max = MOST },
      expected_quantity = EXPECTED, reason = REASON },
      { required = { "from", "to", "quantity", "reason" } }),
    returns = { [201] = true }, handler = transfer, errors = WRITES,
  }),
  route.get("/admin/v1/inventory/{sku}/thresholds", {
    summary = "When stock of a SKU is low", tag = "inventory", auth = "admin",
    permission = "inventory.read", params = SKU,
    returns = { [200] = shapes.one("thresholds", s.any {}) }, handler = get_thresholds,
  }),
  route.put("/admin/v1/inventory/{sku}/thresholds", {
    summary = "Say when stock of a SKU is low", tag = "inventory", auth = "admin",
    permission = "inventory.write", params = SKU, idempotency = "optional",
    body = s.object { low_at = s.nullable(UNITS),
      cover_days = s.nullable(s.integer { min = 1, max = 365 }) },
    returns = { [200] = shapes.one("thresholds", s.any {}) }, handler = put_thresholds,
  }),
}
