-- till/http/admin_api/imports - a file of transactions, from the browser of the staff.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local err = require "till.util.err"
local importing = require "till.flow.import.run"
local log = require "till.prim.log"
local permissions = require "till.http.permissions"
local report_of = require "till.flow.import.report"
local route = require "till.http.route"
local s = require "till.util.schema"
local source = require "till.flow.import.source"


local function refused(report)
  local errors = {}
  for i, left in ipairs(report:table().left_out) do
    errors[i] = { pointer = "/file", code = "invalid",
      detail = ("%s, in %d rows, the first is row %d"):format(left.reason, left.count,
        left.rows[1]) }
  end
  return nil, err.new("invalid_request",
    "Nothing was changed, for some rows cannot be read. Mend them, or use skip-rows.",
    { errors = errors })
end


-- An order that is imported is in the lists and figures as one that was sold.
local function may_import(ctx)
  if ctx.body.kind ~= "orders" or permissions.allows(ctx.auth.roles, "orders.write") then
    return true
  end
  return nil, err.new("forbidden", "Orders take the permission orders.write besides.")
end


-- What came in is in, whatever becomes of this; also where only a part did.
local function note(ctx, report)
  local action, told = "import." .. ctx.body.kind, report:table()
  local ok, e = audit.add { actor = actor.of(ctx), action = action, subject = ctx.body.kind,
    request_id = ctx.req.request_id, detail = { rows = told.rows, done = told.done } }
  if not ok then log.error("audit.lost", { action = action, error = tostring(e) }) end
end


local function import(ctx)
  local may, why = may_import(ctx)
  if not may then return nil, why end
  local report = report_of.new()
  local function open() return source.of_text(ctx.body.file, "the file") end
  local ok, failure = importing.run(ctx.body.kind, open, ctx.body.on_error, report)
  if ok or ok == nil and report:has_done() then note(ctx, report) end
  if ok == nil then return nil, failure end
  if not ok then return refused(report) end
  local out = report:table()
  return ctx:json(200, { import = { kind = ctx.body.kind, rows = out.rows, done = out.done,
    left_out = out.left_out } })
end


return {
  route.post("/admin/v1/imports", {
    summary = "Import products or orders from a CSV of transactions", tag = "products",
    auth = "admin", permission = "products.write", form = true,
    doc = "What is in the shop already is left as it is: the same file twice changes nothing. "
      .. "Orders take the permission orders.write besides. What came in stands in the audit. For "
      .. "a file over the limit of a body there is `moontill import`.",
    body = s.object({
      kind = s.string { enum = { "products", "orders" } },
      on_error = s.string { enum = { "skip-rows", "reject-all" }, default = "skip-rows" },
      file = s.file { doc = "CSV, RFC 4180, UTF-8." },
    }, { required = { "kind", "file" } }),
    returns = { [200] = true }, handler = import,
  }),
}
