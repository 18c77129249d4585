-- till/http/admin_api/webhooks - the inbox of what providers told, and what staff do with it.
local actor = require "till.http.actor"
local err = require "till.util.err"
local json = require "till.prim.json"
local permissions = require "till.http.permissions"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local store = require "till.store.webhooks"
local webhooks = require "till.flow.webhooks"

local PARAMS = { id = s.string { pattern = "^%d+$", max = 15 } }
local STATES = { "received", "applied", "ignored", "parked", "failed" }

local EVENT = s.object({
  id = s.integer {}, provider = s.string { doc = "The plugin that speaks for it." },
  event_id = s.string { doc = "As the provider names it." }, type = s.string {},
  subject = s.string { doc = "What it is about, as the provider names it." },
  state = s.string { enum = STATES }, via = s.string { enum = { "webhook", "poll" } },
  tries = s.integer {}, reason = s.string { doc = "Why it is parked, failed or tried again." },
  payment_id = s.id("pay"), at = s.string { doc = "When it happened, by the provider." },
  received_at = s.string {}, applied_at = s.string {},
  body = s.any { doc = "Of one alone, for who has webhooks.write: there are people in it." },
}, { additional = true, name = "WebhookEvent" })


local function view(row)
  return { id = row.id, provider = row.provider, event_id = row.event_id, type = row.type,
    subject = row.subject, state = row.state, via = row.via, tries = row.tries,
    reason = row.reason, payment_id = row.payment_id, at = row.at,
    received_at = row.received_at, applied_at = row.applied_at }
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  for _, name in ipairs { "state", "provider", "type" } do page[name] = ctx.query[name] end
  local rows, e2 = store.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, view, function(row) return { row.id } end))
end


local function get(ctx)
  local row, e = store.get(tonumber(ctx.params.id))
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no such webhook event") end
  local out = view(row)
  if permissions.allows(ctx.auth.roles, "webhooks.write") then
    out.body = json.decode(row.body) or row.body
  end
  return ctx:json(200, { webhook = out })
end


local function replay(ctx)
  return ctx:transaction(function(tx)
    local row, e = webhooks.replay(tx, tonumber(ctx.params.id), { actor = actor.of(ctx),
      reason = ctx.body.reason, request_id = ctx.req.request_id })
    if not row then return nil, e end
    return ctx:json(200, { webhook = view(row) })
  end)
end


return {
  route.get("/admin/v1/webhooks", {
    summary = "What providers told, newest first; `state=parked` wait for you", tag = "webhooks",
    auth = "admin", permission = "webhooks.read", page = true,
    query = { state = s.string { enum = STATES }, provider = s.string { max = 64 },
      type = s.string { max = 128 } },
    returns = { [200] = shapes.list(EVENT) }, handler = list,
  }),
  route.get("/admin/v1/webhooks/{id}", {
    summary = "One of them with what came", tag = "webhooks", auth = "admin",
    permission = "webhooks.read", params = PARAMS,
    returns = { [200] = shapes.one("webhook", EVENT) }, handler = get,
  }),
  route.post("/admin/v1/webhooks/{id}/replay", {
    summary = "Apply it once more", tag = "webhooks", auth = "admin",
    doc = "Whatever its state: the provider is asked how the payment stands now, and what is not"
      .. " booked yet is.",
    permission = "webhooks.write", params = PARAMS, idempotency = "required",
    body = s.object({ reason = s.string { min = 1, max = 255, doc = "Why; it stands in audit." } },
      { required = { "reason" } }),
    returns = { [200] = shapes.one("webhook", EVENT) }, handler = replay,
  }),
}
