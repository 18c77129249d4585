-- till/http/store_api/live - streams of changes: server-sent events, and WebSocket for who asks to
-- upgrade. docs/api.md tells clients how to read them.
local err = require "till.util.err"
local live = require "till.flow.live"
local respond = require "till.http.respond"
local route = require "till.http.route"
local s = require "till.util.schema"

local MAX_SKUS = 50
local DOC = "Server-sent events; the same as WebSocket for `Upgrade: websocket` (subprotocol"
  .. " moontill.v1). The first event is the present state."


-- Who is counted: a customer, for he may log in as often as he likes; else a key and where it is
-- used from, for a shop's key is everybody's.
local function client_of(ctx)
  return ctx.auth.customer_id or (ctx.auth.key_id or "") .. "|" .. (ctx.req.peer or "")
end


local function stream(ctx, states, e)
  if not states then return nil, e end
  return respond.stream(client_of(ctx), states)
end


local function skus_of(text)
  local out, seen = {}, {}
  for sku in text:gmatch("[^,]+") do
    if not seen[sku] then
      seen[sku] = true
      out[#out + 1] = sku
    end
  end
  if #out > 0 and #out <= MAX_SKUS then return out end
  return nil, err.new("invalid_request", ("name 1 to %d SKUs"):format(MAX_SKUS), { errors = {
    { pointer = "/query/sku", detail = ("must name 1 to %d SKUs"):format(MAX_SKUS),
      code = "range" } } })
end


return {
  route.get("/store/v1/carts/{id}/events", {
    priority = "cart",
    summary = "The cart as it changes", doc = DOC, tag = "carts", auth = "store",
    params = { id = s.id("cart") }, returns = { [200] = true },
    handler = function(ctx) return stream(ctx, live.open_cart(ctx.auth, ctx.params.id)) end,
    errors = { "quota_exceeded", "overloaded" },
  }),
  route.get("/store/v1/stock/events", {
    summary = "Whether things are in stock, as it changes", doc = DOC, tag = "products",
    auth = "store", returns = { [200] = true },
    query = { sku = s.string { min = 1, max = 4000, doc = "SKUs, with commas between them." } },
    handler = function(ctx)
      local skus, e = skus_of(ctx.query.sku or "")
      if not skus then return nil, e end
      return stream(ctx, live.open_stock(skus))
    end,
    errors = { "quota_exceeded", "overloaded" },
  }),
}
