-- till/http/admin_api/rules - merchants' rules, for staff: written, checked, tried, published.
local actor = require "till.http.actor"
local err = require "till.util.err"
local guard = require "till.flow.rule_guard"
local route = require "till.http.route"
local rules = require "till.flow.rules"
local s = require "till.util.schema"
local shape = require "till.http.admin_api.rule_shape"
local shapes = require "till.http.shapes"
local sql = require "till.prim.sql"
local store = require "till.store.rules"
local unified = require "till.util.unified"

local PARAMS = { id = s.id("rule") }
local NUMBER = s.integer { min = 1, max = 4000000000 }
local IN_PATH = s.string { pattern = "^[1-9]%d*$", regex = "^[1-9][0-9]*$", max = 9 }


local function note_of(ctx)
  return { author = actor.of(ctx), reason = ctx.body.reason or "" }
end


local function loaded(rule)
  local latest, e = rules.find_version(rule, rule.version)
  if not latest then return nil, e end
  local live = rules.live(rule)
  return shape.rule(rule, latest, live, live and guard.aside()[live.hash] or nil)
end


local function show(ctx, status, rule_id)
  local rule, e = rules.find(rule_id)
  if not rule then return nil, e end
  local view, e2 = loaded(rule)
  if not view then return nil, e2 end
  return ctx:json(status, { rule = view }, { etag = rule.revision })
end


local function list(ctx)
  local page, e = ctx:page()
  if not page then return nil, e end
  local rows, e2 = store.list { state = ctx.query.state, limit = page.limit, after = page.after,
    before = page.before }
  if not rows then return nil, e2 end
  local aside = guard.aside()
  return ctx:json(200, ctx:list(rows, page, function(rule)
    local live = rules.live(rule)
    return shape.head(rule, live, live and aside[live.hash] or nil)
  end, function(rule) return { rule.id } end))
end


local function create(ctx)
  local ok, e = rules.check(ctx.body)
  if not ok then return nil, e end
  local rule_id
  local response, e2 = ctx:transaction(function(tx)
    local why
    rule_id, why = rules.create(tx, ctx.body, note_of(ctx))
    if not rule_id then return nil, why end
    local rule = assert(store.get(rule_id, tx))
    return ctx:json(201, { rule = shape.rule(rule, assert(store.version(rule_id, 1, tx))) },
      { etag = rule.revision, headers = { location = "/admin/v1/rules/" .. rule_id } })
  end)
  return response, e2
end


-- What it becomes is checked before the row is held: the box may be asked.
local function edit(ctx)
  local rule, e = rules.find(ctx.params.id)
  if not rule then return nil, e end
  local ok, e2 = ctx:matches(rule.revision)
  if not ok then return nil, e2 end
  local latest, e3 = rules.find_version(rule, rule.version)
  if not latest then return nil, e3 end
  local draft = rules.draft(rule, latest, ctx.body)
  ok, e2 = rules.check(draft)
  if not ok then return nil, e2 end
  local done, e4 = sql.transaction(function(tx)
    local now, why = store.lock(tx, rule.id)
    if not now then return nil, why end
    local still, why2 = ctx:matches(now.revision)
    if not still then return nil, why2 end
    if now.revision ~= rule.revision then -- If-Match: *
      return nil, err.new("busy", "the rule was changed meanwhile")
    end
    if now.state == "archived" then return nil, err.new("conflict", "the rule is archived") end
    return rules.edit(tx, now, draft, note_of(ctx))
  end)
  if not done then return nil, e4 end
  return show(ctx, 200, rule.id)
end


local function archive(ctx)
  local done, e = sql.transaction(function(tx)
    local rule, why = store.lock(tx, ctx.params.id)
    if rule == false then return nil, err.new("not_found", "there is no such rule") end
    if not rule then return nil, why end
    local ok, why2 = ctx:matches(rule.revision)
    if not ok then return nil, why2 end
    if rules.live(rule) or rule.published then
      return nil, err.new("conflict", "the rule is live; unpublish it first")
    end
    return store.set(tx, rule.id, { state = "archived" })
  end)
  if not done then return nil, e end
  return ctx:empty()
end


local function paged(read, view, key)
  return function(ctx)
    local rule, e = rules.find(ctx.params.id)
    if not rule then return nil, e end
    local page, e2 = ctx:page()
    if not page then return nil, e2 end
    local rows, e3 = read(rule, { limit = page.limit, after = page.after, before = page.before })
    if not rows then return nil, e3 end
    return ctx:json(200, ctx:list(rows, page, function(row) return view(row, rule) end,
      function(row) return { row[key] } end))
  end
end


local versions = paged(function(rule, opts) return store.versions(rule.id, opts) end,
  shape.version_head, "number")

local events = paged(function(rule, opts) return store.events(rule.id, opts) end,
  function(event, rule) return shape.event(event, rules.ended(rule, event)) end, "id")


local function version(ctx)
  local rule, e = rules.find(ctx.params.id)
  if not rule then return nil, e end
  local found, e2 = rules.find_version(rule, tonumber(ctx.params.number))
  if not found then return nil, e2 end
  return ctx:json(200, { version = shape.version(found) })
end


local function by_hash(ctx)
  local found, e = store.by_hash(ctx.params.hash)
  if found == nil then return nil, e end
  if not found then return nil, err.new("not_found", "no version has this hash") end
  return ctx:json(200, { version = shape.version(found) })
end


local function diff(ctx)
  local rule, e = rules.find(ctx.params.id)
  if not rule then return nil, e end
  local to, e2 = rules.find_version(rule, ctx.query.to or rule.version)
  if not to then return nil, e2 end
  local from, e3 = rules.find_version(rule, ctx.query.from or math.max(1, to.number - 1))
  if not from then return nil, e3 end
  local function named(file)
    return { from = ("%s %d"):format(file, from.number), to = ("%s %d"):format(file, to.number) }
  end
  return ctx:json(200, { from = from.number, to = to.number,
    text = unified.diff(from.text, to.text, named(rule.name .. ".lua")),
    manifest = unified.diff(shape.manifest_text(from), shape.manifest_text(to),
      named(rule.name .. ".json")) })
end


local function validate(ctx)
  local ok, e = rules.check(ctx.body)
  if not ok then return nil, e end
  return ctx:json(200, { valid = true })
end


-- ---- what goes live ------------------------------------------------------------------------

-- The answer is made in the transaction that remembers it, by what is live from now on: this
-- request itself ends on the generation that it began on.
local function committing(ctx, rule_id)
  return function(finish, live)
    return ctx:transaction(function(tx)
      local done, e = finish(tx)
      if not done then return nil, e end
      local rule = assert(store.get(rule_id, tx))
      local latest = assert(store.version(rule_id, rule.version, tx))
      return ctx:json(200, { rule = shape.rule(rule, latest, live.version and live or nil),
        generation = live.generation }, { etag = rule.revision })
    end)
  end
end


local function publishes(act)
  return function(ctx)
    local ask = note_of(ctx)
    ask.version, ask.commit = ctx.body.version, committing(ctx, ctx.params.id)
    return act(ctx.params.id, ask)
  end
end


-- The next version is what is live, with other times: an edit that nobody has published yet does
-- not go live by that.
local function rescheduled(ctx, rule)
  local live = rules.live(rule)
  local current, e = rules.find_version(rule, live and live.version or rule.version)
  if not current then return nil, e end
  local draft = rules.draft(rule, current, { starts_at = ctx.body.starts_at,
    ends_at = ctx.body.ends_at })
  local ok, e2 = rules.check(draft)
  if not ok then return nil, e2 end
  return sql.transaction(function(tx)
    local now, why = store.lock(tx, rule.id)
    if not now then return nil, why end
    if now.version ~= rule.version then
      return nil, err.new("busy", "the rule was changed meanwhile")
    end
    if now.state == "archived" then return nil, err.new("conflict", "the rule is archived") end
    return rules.edit(tx, now, draft, note_of(ctx))
  end)
end


-- Other times are another version; where the rule is live that one is published.
local function schedule(ctx)
  local rule, e = rules.find(ctx.params.id)
  if not rule then return nil, e end
  local number, e2 = rescheduled(ctx, rule)
  if not number then return nil, e2 end
  if not rules.live(rule) then return show(ctx, 200, rule.id) end
  local ask = note_of(ctx)
  ask.version, ask.commit = number, committing(ctx, rule.id)
  return rules.publish(rule.id, ask)
end


local function restore(ctx)
  local rule, e = rules.find(ctx.params.id)
  if not rule then return nil, e end
  local response, e2 = ctx:transaction(function(tx)
    local row, why = store.lock(tx, rule.id)
    if not row then return nil, why end
    local ok, why2 = rules.restore(tx, row, note_of(ctx))
    if not ok then return nil, why2 end
    local now = assert(store.get(rule.id, tx))
    local latest = assert(store.version(rule.id, now.version, tx))
    return ctx:json(200, { rule = shape.rule(now, latest, rules.live(now)) },
      { etag = now.revision })
  end)
  if response then guard.forget() end
  return response, e2
end


local one = shapes.one("rule", shape.schema)
local LIVE = { [200] = s.object({ rule = shape.schema, generation = s.string {} },
  { required = { "rule" }, additional = true }) }
local REASON = s.string { min = 1, max = 500, doc = "Why; it is kept with the event." }


local function get(path, def)
  def.tag, def.auth, def.permission = "rules", "admin", "rules.read"
  return route.get(path, def)
end


local function post(path, permission, def)
  def.tag, def.auth, def.permission = "rules", "admin", permission
  return route.post(path, def)
end


return {
  get("/admin/v1/rules", { summary = "Merchants' rules", page = true,
    query = { state = s.string { enum = shape.STATES } },
    returns = { [200] = shapes.list(s.any {}) }, handler = list }),
  post("/admin/v1/rules", "rules.write", { summary = "Write a rule; nothing is live by that",
    body = shape.draft, returns = { [201] = one }, idempotency = "optional", handler = create,
    errors = { "duplicate" } }),
  post("/admin/v1/rules/validate", "rules.read", {
    summary = "Is it a rule? What is wrong stands in `errors`, with line and column in the text",
    body = shape.checked, returns = { [200] = s.object { valid = s.boolean {} } },
    handler = validate }),
  get("/admin/v1/rules/hashes/{hash}", { summary = "The version that a price was made by",
    params = { hash = s.string { pattern = "^%x+$", regex = "^[0-9a-f]{64}$", min = 64,
      max = 64 } }, returns = { [200] = true }, handler = by_hash }),
  get("/admin/v1/rules/{id}", { summary = "One rule", params = PARAMS,
    returns = { [200] = one }, handler = function(ctx) return show(ctx, 200, ctx.params.id) end }),
  route.patch("/admin/v1/rules/{id}", { summary = "Change a rule: its next version", tag = "rules",
    auth = "admin", permission = "rules.write", params = PARAMS, if_match = "required",
    body = shape.changes, returns = { [200] = one }, handler = edit }),
  route.delete("/admin/v1/rules/{id}", { summary = "Archive a rule that is not live",
    tag = "rules", auth = "admin", permission = "rules.write", params = PARAMS,
    if_match = "required", returns = { [204] = true }, handler = archive,
    errors = { "conflict" } }),
  get("/admin/v1/rules/{id}/versions", { summary = "Its versions: who, when and why",
    params = PARAMS, page = true, returns = { [200] = shapes.list(s.any {}) },
    handler = versions }),
  get("/admin/v1/rules/{id}/versions/{number}", { summary = "One version, whole",
    params = { id = PARAMS.id, number = IN_PATH }, returns = { [200] = true },
    handler = version }),
  get("/admin/v1/rules/{id}/diff", { summary = "How two of its versions differ",
    params = PARAMS, query = { from = NUMBER, to = NUMBER }, returns = { [200] = true },
    handler = diff }),
  get("/admin/v1/rules/{id}/events", { summary = "What became of it", params = PARAMS,
    page = true, returns = { [200] = shapes.list(s.any {}) }, handler = events }),
  post("/admin/v1/rules/{id}/publish", "rules.publish", {
    summary = "Make a version live in every worker, or in none", params = PARAMS,
    body = s.object({ reason = REASON, version = NUMBER }, { required = { "reason" } }),
    idempotency = "required", returns = LIVE, handler = publishes(rules.publish),
    errors = { "conflict", "busy" } }),
  post("/admin/v1/rules/{id}/unpublish", "rules.publish", { summary = "Take it back",
    params = PARAMS, body = s.object({ reason = REASON }, { required = { "reason" } }),
    idempotency = "required", returns = LIVE, handler = publishes(rules.unpublish),
    errors = { "conflict", "busy" } }),
  post("/admin/v1/rules/{id}/schedule", "rules.publish", {
    summary = "From when to when it counts; where it is live, at once", params = PARAMS,
    body = s.object({ reason = REASON, starts_at = shape.DATE, ends_at = shape.DATE },
      { required = { "reason" } }),
    idempotency = "required", returns = LIVE, handler = schedule, errors = { "busy" } }),
  post("/admin/v1/rules/{id}/restore", "rules.publish", {
    summary = "Call a rule again that was set aside", params = PARAMS,
    body = s.object({ reason = REASON }, { required = { "reason" } }),
    idempotency = "required", returns = { [200] = one }, handler = restore,
    errors = { "conflict" } }),
}
