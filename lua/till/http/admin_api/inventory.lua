-- till/http/admin_api/inventory - what is there of a SKU, and putting it right.
local actor = require "till.http.actor"
local catalog = require "till.flow.catalog"
local err = require "till.util.err"
local inventory = require "till.store.inventory"
local outbox = require "till.prim.outbox"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local id = require "till.util.id"

local SKU = { sku = s.string { min = 1, max = 100 } }
local QUANTITY = s.integer { min = -1000000000, max = 1000000000 }


local function get(ctx)
  local found, e = inventory.get(ctx.params.sku, ctx.query.as_of)
  if found == nil then return nil, e end
  if not found then return nil, err.new("not_found", "there is no variant with this SKU") end
  return ctx:json(200, { inventory = found }, { etag = found.version })
end


local function check(body)
  if (body.delta == nil) ~= (body.set_to == nil) then return true end
  return nil, err.new("invalid_request", "give delta or set_to", { errors = {
    { pointer = "/delta", detail = "give delta or set_to, one of them", code = "required" } } })
end


local function adjust(ctx)
  local body = ctx.body
  local ok, e = check(body)
  if not ok then return nil, e end
  local adjustment_id, variant_id = id.new("adj"), nil
  local made, e2 = ctx:transaction(function(tx)
    local done, why = inventory.adjust(tx, { sku = ctx.params.sku, location = body.location,
      delta = body.delta, set_to = body.set_to, expected_quantity = body.expected_quantity,
      reason = body.reason, actor = actor.of(ctx), reference = adjustment_id,
      type = body.delta and body.delta > 0 and body.reason == "received" and "received" or nil })
    if not done then return nil, why end
    variant_id = done.variant_id
    local told, why2 = outbox.append(tx, { { aggregate = "stock:" .. done.variant_id,
      type = "stock.changed", payload = { skus = { ctx.params.sku } } } })
    if not told then return nil, why2 end
    local found, why3 = inventory.get(ctx.params.sku, nil, tx)
    if not found then return nil, why3 end
    return ctx:json(201, { adjustment = { id = adjustment_id, before = done.before,
      on_hand = done.on_hand, location = done.location, reason = body.reason },
      inventory = found }, { etag = found.version })
  end)
  if made then catalog.moved({ variant_id }) end
  return made, e2
end


return {
  route.get("/admin/v1/inventory/{sku}", {
    summary = "Stock of a SKU, now or at a time", tag = "inventory", auth = "admin",
    permission = "inventory.read", params = SKU,
    query = { as_of = s.string { format = "date-time" } },
    returns = { [200] = shapes.one("inventory", s.any {}) }, handler = get,
  }),
  route.post("/admin/v1/inventory/{sku}/adjustments", {
    summary = "Put the stock right", tag = "inventory", auth = "admin",
    permission = "inventory.write", params = SKU, idempotency = "required",
    body = s.object({ delta = QUANTITY, set_to = s.integer { min = 0, max = 1000000000 },
      expected_quantity = s.integer { min = 0 }, location = s.string { min = 1, max = 64 },
      reason = s.string { min = 1, max = 255 } }, { required = { "reason" } }),
    returns = { [201] = true }, handler = adjust, errors = { "conflict", "precondition_failed" },
  }),
}
