-- till/http/admin_api/generations - the code of the shop: what is live, what was, going there.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local changes = require "till.store.generation_changes"
local err = require "till.util.err"
local generations = require "till.flow.generations"
local json = require "till.prim.json"
local log = require "till.prim.log"
local route = require "till.http.route"
local s = require "till.util.schema"
local shapes = require "till.http.shapes"
local views = require "till.flow.generation_views"

local HASH = s.string { pattern = "^%x+$", min = 4, max = 64,
  doc = "The whole hash, or the beginning of one." }
local PARAMS = { hash = HASH }
local REASON = s.object { reason = s.string { max = 500, doc = "Why; history keeps it." } }
local TIME = s.nullable(s.string { format = "date-time" })

local GENERATION = s.object({
  hash = s.string { doc = "SHA-256 of the content." }, parent = s.nullable(s.string {}),
  state = s.string { enum = { "live", "loading", "cooling", "closed", "kept", "refused" } },
  changed = s.string { doc = "What it changed of its parent: files by part." },
  author = s.string {}, reason = s.string {}, program = s.string {},
  files = s.integer {}, size = s.integer { doc = "Bytes." },
  requests = s.integer { doc = "Served by it, up to some seconds ago." },
  library = s.string {}, plugins = s.string {}, configuration = s.string {}, rules = s.string {},
  live_at = TIME, refused_at = TIME, created_at = s.string { format = "date-time" },
}, { additional = true, name = "Generation" })
local CHANGE = s.object({
  id = s.string {}, sequence = s.nullable(s.integer {}), kind = s.string {},
  from = s.nullable(s.string {}), to = s.nullable(s.string {}), author = s.string {},
  reason = s.string {}, outcome = s.string { enum = { "live", "refused" } },
  refusal = s.nullable(s.string {}), machine = s.string {}, took_ms = s.integer {},
  created_at = s.string { format = "date-time" },
}, { additional = true, name = "GenerationChange" })
local DIFFERENCE = s.object({
  path = s.string {}, change = s.string { enum = { "added", "removed", "changed" } },
  text = s.string { doc = "Unified." },
}, { additional = true, name = "GenerationDifference" })


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = views.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, nil, function(g) return { g.created_at, g.hash } end))
end


local function history(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = changes.list(page)
  if not rows then return nil, e2 end
  return ctx:json(200, ctx:list(rows, page, nil, function(c) return { c.created_at, c.id } end))
end


local function show(ctx)
  local hash, e = generations.resolve(ctx.params.hash)
  if not hash then return nil, e end
  local row, e2 = views.one(hash)
  if not row then return nil, e2 end
  return ctx:json(200, { generation = row })
end


local function diff(ctx)
  local hash, e = generations.resolve(ctx.params.hash)
  if not hash then return nil, e end
  local against, e2 = generations.resolve(ctx.query.against or "live")
  if not against then return nil, e2 end
  local entries, e3 = generations.diff(against, hash)
  if not entries then return nil, e3 end
  return ctx:json(200, { from = against, to = hash, data = json.array(entries) })
end


-- "plugins/x/handler.lua:12: why" of a refusal, for who wrote it.
local function with_place(e)
  if err.is(e, "precondition_failed") then return err.new("conflict", e.message) end
  local file, line, why = tostring(e.message):match("^([%w_/%.-]+%.%a+):(%d+): (.*)$")
  if not file then return e end
  return err.new("rejected", ("%s, line %s: %s"):format(file, line, why), { public = true,
    errors = json.array { { pointer = "", file = file, line = tonumber(line), detail = why } } })
end


local function note(ctx, action, subject, failure)
  local ok, e = audit.add { actor = actor.of(ctx), action = action, subject = subject,
    request_id = ctx.req.request_id,
    detail = { reason = ctx.body.reason, refused = failure and failure.message or nil } }
  if not ok then log.error("audit.lost", { action = action, error = tostring(e) }) end
end


local function answer(ctx, hash)
  local row, e = views.one(hash)
  if not row then return nil, e end
  return ctx:json(200, { generation = row })
end


local function reload(ctx)
  local done, e = generations.reload { author = actor.of(ctx), reason = ctx.body.reason }
  note(ctx, "generations.reload", done and done.generation or "-", e)
  if not done then return nil, with_place(e) end
  return answer(ctx, done.generation)
end


local function activate(ctx)
  local hash, e = generations.resolve(ctx.params.hash)
  if not hash then return nil, e end
  local done, e2 = generations.activate(hash, { author = actor.of(ctx), reason = ctx.body.reason })
  note(ctx, "generations.activate", hash, e2)
  if not done then return nil, with_place(e2) end
  return answer(ctx, hash)
end


local one = shapes.one("generation", GENERATION)

return {
  route.get("/admin/v1/generations", {
    summary = "All generations of the code, the newest first", tag = "generations", auth = "admin",
    permission = "generations.read", page = true, returns = { [200] = shapes.list(GENERATION) },
    handler = list,
  }),
  route.get("/admin/v1/generation-changes", {
    summary = "What was made live, by whom and why; what was refused", tag = "generations",
    auth = "admin", permission = "generations.read", page = true,
    returns = { [200] = shapes.list(CHANGE) }, handler = history,
  }),
  route.post("/admin/v1/generations/reload", {
    summary = "Load the folders of the server that answers, live everywhere or nowhere",
    tag = "generations", auth = "admin", permission = "generations.write",
    idempotency = "optional", body = REASON, returns = { [200] = one },
    errors = { "rejected", "conflict" }, handler = reload,
  }),
  route.get("/admin/v1/generations/{hash}", {
    summary = "One of them", tag = "generations", auth = "admin", permission = "generations.read",
    params = PARAMS, returns = { [200] = one }, handler = show,
  }),
  route.get("/admin/v1/generations/{hash}/diff", {
    summary = "What it has otherwise than another (the live one)", tag = "generations",
    auth = "admin", permission = "generations.read", params = PARAMS,
    query = { against = HASH }, handler = diff,
    returns = { [200] = s.object({ from = s.string {}, to = s.string {},
      data = s.array(DIFFERENCE) }, { additional = true }) },
  }),
  route.post("/admin/v1/generations/{hash}/activate", {
    summary = "Make it live, everywhere or nowhere", tag = "generations", auth = "admin",
    permission = "generations.write", params = PARAMS, idempotency = "optional", body = REASON,
    returns = { [200] = one }, errors = { "rejected", "conflict" }, handler = activate,
  }),
}
