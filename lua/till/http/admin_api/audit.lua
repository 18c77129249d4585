-- till/http/admin_api/audit - who of the staff did what.
local audit = require "till.store.audit"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"

local ENTRY = s.object({
  id = s.string {}, actor = s.string { doc = "Public id of a person or key." },
  action = s.string {}, subject = s.string {}, detail = s.any {}, request_id = s.string {},
  created_at = s.string { format = "date-time" },
}, { additional = true, name = "AuditEntry" })


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  page.subject = ctx.query.subject
  local rows, e2 = audit.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, nil, function(row) return { row.id } end))
end


return {
  route.get("/admin/v1/audit", {
    summary = "Who did what", tag = "audit", auth = "admin", permission = "audit.read",
    page = true, query = { subject = s.string { max = 190 } },
    returns = { [200] = shapes.list(ENTRY) }, handler = list,
  }),
}
