-- till/http/admin_api/settlements - providers' accounts compared with our books.
local actor = require "till.http.actor"
local err = require "till.util.err"
local payout_json = require "till.http.payout_json"
local render = require "till.http.render"
local route = require "till.http.route"
local s = require "till.util.schema"
local settlement = require "till.flow.settlement"
local settlements = require "till.store.settlements"
local shapes = require "till.http.shapes"
local time = require "till.prim.time"

local NUMBER = { id = s.string { pattern = "^%d+$", max = 15 } }
local AT = { format = "date-time" }

local SETTLEMENT = s.object({
  id = s.integer {}, provider = s.string {},
  state = s.string { enum = { "running", "done", "failed" } }, from = s.string(AT),
  to = s.string(AT), resolved = s.integer { doc = "Payments whose outcome it found out." },
  error = s.string { doc = "Of the last try." }, actor = s.string {},
  started_at = s.string(AT), finished_at = s.string(AT),
}, { additional = true, name = "Settlement" })


local function view(row)
  return { id = row.id, provider = row.provider, state = row.state, from = row.from_at,
    to = row.to_at, resolved = row.resolved, error = row.error, actor = row.actor,
    started_at = row.started_at, finished_at = row.finished_at }
end


local function views_of(list)
  local out = {}
  for n, one in ipairs(list) do out[n] = payout_json.item(one) end
  return render.list(out)
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  page.provider = ctx.query.provider
  local rows, e2 = settlements.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, view, function(row) return { row.id } end))
end


local function get(ctx)
  local row, e = settlements.get(tonumber(ctx.params.id))
  if row == nil then return nil, e end
  if not row then return nil, err.new("not_found", "there is no reconciliation of that number") end
  local report, e2 = settlement.report(row)
  if not report then return nil, e2 end
  local out = view(row)
  out.totals = render.list(report.totals)
  for _, verdict in ipairs { "missing_here", "missing_there", "differs", "other_currency" } do
    out[verdict] = views_of(report[verdict])
  end
  out.payouts = payout_json.list(report.payouts)
  out.balances = render.list(report.balances)
  return ctx:json(200, { settlement = out })
end


local function start(ctx)
  local body = ctx.body
  return ctx:transaction(function(tx)
    local wish = { provider = body.provider, from_ms = (time.parse(body.from)),
      to_ms = (time.parse(body.to)), actor = actor.of(ctx), request_id = ctx.req.request_id }
    local settlement_id, e = settlement.begin(tx, wish)
    if not settlement_id then return nil, e end
    local row, e2 = settlements.get(settlement_id, tx)
    if not row then return nil, e2 end
    return ctx:json(202, { settlement = view(row) })
  end)
end


return {
  route.get("/admin/v1/settlements", {
    summary = "Comparisons of providers' accounts with our books", tag = "payments",
    auth = "admin", permission = "payments.read", page = true,
    query = { provider = s.string { max = 64 } },
    returns = { [200] = shapes.list(SETTLEMENT) }, handler = list,
  }),
  route.post("/admin/v1/settlements", {
    summary = "Compare a period now", tag = "payments", auth = "admin",
    permission = "payments.write", idempotency = "optional",
    doc = "A jobs worker takes it up. At most 92 days; of a provider one at a time.",
    body = s.object({ provider = s.string { min = 1, max = 64, pattern = "^[a-z0-9-]+$" },
      from = s.string(AT), to = s.string(AT) }, { required = { "provider", "from", "to" } }),
    returns = { [202] = shapes.one("settlement", SETTLEMENT) }, handler = start,
    errors = { "conflict" },
  }),
  route.get("/admin/v1/settlements/{id}", {
    summary = "One of them with its report", tag = "payments", auth = "admin",
    doc = "`totals` by currency, kind and verdict, in minor units: `amount` and `fee` as the"
      .. " provider has them, `booked` as we have them. Lists of up to 500 movements. `payouts`"
      .. " that were made in the period, each with the sum of what it holds; `balances`: what the"
      .. " account had at the end of the run, in our books and by the provider's word.",
    permission = "payments.read", params = NUMBER,
    returns = { [200] = shapes.one("settlement", SETTLEMENT) }, handler = get,
  }),
}
