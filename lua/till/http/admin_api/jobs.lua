-- till/http/admin_api/jobs - events that could not be delivered, and trying them again.
local dead = require "till.store.dead"
local err = require "till.util.err"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = dead.list { limit = page.limit, after = page.after, before = page.before }
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, nil, function(row) return { row.id } end))
end


local function replay(ctx)
  return ctx:transaction(function(tx)
    local done, e = dead.replay(tx, ctx.params.id)
    if done == nil then return nil, e end
    if not done then return nil, err.new("not_found", "there is no dead event of that number") end
    return ctx:json(202, { replayed = true })
  end)
end


return {
  route.get("/admin/v1/jobs/dead", {
    summary = "Events that were given up", tag = "jobs", auth = "admin", permission = "jobs.read",
    page = true, returns = { [200] = shapes.list(s.any {}) }, handler = list,
  }),
  route.post("/admin/v1/jobs/{id}/replay", {
    summary = "Deliver one of them again", tag = "jobs", auth = "admin",
    permission = "jobs.write", params = { id = s.string { pattern = "^%d+$", max = 20 } },
    idempotency = "optional", body = s.object {}, returns = { [202] = true }, handler = replay,
  }),
}
