-- till/http/admin_api/payouts - what providers paid out to the shop's bank, as the reconciliation
-- has found it.
local err = require "till.util.err"
local payout_json = require "till.http.payout_json"
local payouts = require "till.store.payouts"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"

local NUMBER = { id = s.string { pattern = "^%d+$", max = 15 } }
local AT = { format = "date-time" }

local PAYOUT = s.object({
  id = s.integer {}, provider = s.string {}, reference = s.string {}, currency = s.string {},
  amount = s.integer { doc = "Minor units that go to the bank; negative: it gives them." },
  state = s.string { enum = { "created", "in_transit", "paid", "failed", "canceled" } },
  reason = s.string { doc = "Why it failed." },
  is_listed = s.boolean { doc = "Does the provider tell what it holds? Absent: not yet." },
  movements = s.integer { doc = "That it holds, without its own." },
  movements_amount = s.integer { doc = "Their sum, after fees." },
  difference = s.integer { doc = "amount - movements_amount: 0 is right." },
  at = s.string(AT), arrives_at = s.string(AT),
}, { additional = true, name = "Payout" })

local MOVEMENT = s.object({
  reference = s.string {}, kind = s.string {}, source = s.string {}, payment_id = s.id("pay"),
  currency = s.string {}, amount = s.integer {}, fee = s.integer {}, verdict = s.string {},
  payout = s.string {}, at = s.string(AT),
}, { additional = true, name = "Movement" })


local function by_id(row)
  return { row.id }
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  page.provider = ctx.query.provider
  local rows, e2 = payouts.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, payout_json.of, by_id))
end


local function find(ctx)
  local row, e = payouts.get(tonumber(ctx.params.id))
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no payout of that number") end
  return row
end


local function get(ctx)
  local row, e = find(ctx)
  if not row then return nil, e end
  return ctx:json(200, { payout = payout_json.of(row) })
end


local function items(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local row, e2 = find(ctx)
  if not row then return nil, e2 end
  local rows, e3 = payouts.items(row, page)
  if not rows then return nil, e3 end
  return ctx:json(200, ctx:list(rows, page, payout_json.item, by_id))
end


return {
  route.get("/admin/v1/payouts", {
    summary = "What providers paid out to the bank, newest first", tag = "payments",
    auth = "admin", permission = "payments.read", page = true,
    doc = "As the reconciliation has found them.",
    query = { provider = s.string { max = 64 } },
    returns = { [200] = shapes.list(PAYOUT) }, handler = list,
  }),
  route.get("/admin/v1/payouts/{id}", {
    summary = "One of them", tag = "payments", auth = "admin", permission = "payments.read",
    params = NUMBER, returns = { [200] = shapes.one("payout", PAYOUT) }, handler = get,
  }),
  route.get("/admin/v1/payouts/{id}/movements", {
    summary = "The movements that it holds", tag = "payments", auth = "admin",
    permission = "payments.read", params = NUMBER, page = true,
    doc = "With its own, and what each is in our books.",
    returns = { [200] = shapes.list(MOVEMENT) }, handler = items,
  }),
}
