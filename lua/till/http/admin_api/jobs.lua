-- till/http/admin_api/jobs - the outbox by type, events that could not be delivered and what is to
-- become of them, and jobs of a schedule. What changes something stands in the audit log.
local actor = require "till.http.actor"
local audit = require "till.store.audit"
local backlog = require "till.store.backlog"
local dead = require "till.store.dead"
local err = require "till.util.err"
local json = require "till.prim.json"
local kinds = require "till.flow.kinds"
local route = require "till.http.route"
local s = require "till.util.schema"
local schedule_store = require "till.store.schedules"
local schedules = require "till.flow.schedules"
local shapes = require "till.http.shapes"

local MOST = 1000
local ID = { id = s.string { pattern = "^%d+$", max = 18 } }
local NAME = { name = s.string { pattern = "^[%l%d-]+:[%l%d_-]+$", max = 120 } }
local TYPE = s.string { pattern = "^[%w%._-]+$", max = 64 }
local REASON = s.string { min = 1, max = 255 }


local function noted(tx, ctx, action, subject, detail)
  return audit.add({ actor = actor.of(ctx), action = action, subject = subject, detail = detail,
    request_id = ctx.req.request_id }, tx)
end


local function of_type(event_type, numbers)
  local kind = kinds.of(event_type)
  return { type = event_type, pending = numbers.pending, running = numbers.running,
    dead = numbers.dead, oldest_s = numbers.oldest_s, priority = kind.priority,
    limit = kind.limit or json.null, attempts = kind.attempts }
end


local function overview(ctx)
  local outbox, e = backlog.outbox()
  if not outbox then return nil, e end
  local out = {}
  for event_type, numbers in pairs(outbox) do out[#out + 1] = of_type(event_type, numbers) end
  table.sort(out, function(a, b) return a.type < b.type end)
  return ctx:json(200, { data = json.array(out) })
end


local function lister(state)
  return function(ctx)
    local page, e = ctx:page()
    if not page then return nil, e end
    local rows, e2 = dead.list { limit = page.limit, after = page.after, before = page.before,
      type = ctx.query.type, state = state }
    if not rows then return nil, e2 end
    return ctx:json(200, ctx:list(rows, page, nil, function(row) return { row.id } end))
  end
end


local function get(ctx)
  local event, e = dead.get(ctx.params.id)
  if event == nil then return nil, e end
  if not event then return nil, err.new("not_found", "there is no event of that number") end
  return ctx:json(200, { event = event })
end


-- `change` of one event, and its entry in the audit log.
local function settle_one(ctx, action, change, answer)
  return ctx:transaction(function(tx)
    local done, e = change(tx)
    if done == nil then return nil, e end
    if not done then return nil, err.new("not_found", "there is no dead event of that number") end
    local ok, e2 = noted(tx, ctx, action, "event:" .. ctx.params.id, ctx.body)
    if not ok then return nil, e2 end
    return ctx:json(202, answer)
  end)
end


local function replay(ctx)
  return settle_one(ctx, "jobs.replay", function(tx)
    return dead.replay(tx, ctx.params.id)
  end, { replayed = true })
end


local function discard(ctx)
  return settle_one(ctx, "jobs.discard", function(tx)
    return dead.discard(tx, ctx.params.id, actor.of(ctx), ctx.body.reason)
  end, { discarded = true })
end


local function settle_all(ctx, action, field, change)
  return ctx:transaction(function(tx)
    local n, e = change(tx, ctx.body.type)
    if not n then return nil, e end
    local ok, e2 = noted(tx, ctx, action, "type:" .. ctx.body.type,
      { n = n, reason = ctx.body.reason })
    if not ok then return nil, e2 end
    return ctx:json(202, { [field] = n, has_more = n == MOST })
  end)
end


local function replay_all(ctx)
  return settle_all(ctx, "jobs.replay", "replayed", function(tx, event_type)
    return dead.replay_all(tx, event_type, MOST)
  end)
end


local function discard_all(ctx)
  return settle_all(ctx, "jobs.discard", "discarded", function(tx, event_type)
    return dead.discard_all(tx, event_type, actor.of(ctx), ctx.body.reason, MOST)
  end)
end


local function list_schedules(ctx)
  local rows, e = schedule_store.list()
  if not rows then return nil, e end
  return ctx:json(200, { data = json.array(rows) })
end


-- `change` of a schedule that is there, its audit entry, and the schedule as it is then.
local function change_schedule(action, change)
  return function(ctx)
    local name = ctx.params.name
    return ctx:transaction(function(tx)
      local there, e = schedule_store.get(name, tx)
      if there == nil then return nil, e end
      if not there then return nil, err.new("not_found", "there is no such schedule") end
      local ok, e2 = change(tx, name, ctx)
      if ok == nil then return nil, e2 end
      ok, e2 = noted(tx, ctx, action, "schedule:" .. name)
      if not ok then return nil, e2 end
      there, e = schedule_store.get(name, tx)
      if not there then return nil, e end
      return ctx:json(202, { schedule = there })
    end)
  end
end


local run = change_schedule("schedules.run", function(tx, name)
  return schedules.run_now(tx, name)
end)

local pause = change_schedule("schedules.pause", function(tx, name, ctx)
  return schedule_store.set_paused(tx, name, actor.of(ctx))
end)

local resume = change_schedule("schedules.resume", function(tx, name)
  return schedule_store.set_paused(tx, name, nil)
end)


local function read(path, spec)
  spec.tag, spec.auth, spec.permission = "jobs", "admin", "jobs.read"
  return route.get("/admin/v1/jobs" .. path, spec)
end


local function write(path, spec)
  spec.tag, spec.auth, spec.permission = "jobs", "admin", "jobs.write"
  spec.idempotency, spec.returns = "optional", { [202] = true }
  spec.body = spec.body or s.object {}
  return route.post("/admin/v1/jobs" .. path, spec)
end


local BY_TYPE = { type = TYPE }
local LIST = { [200] = shapes.list(s.any {}) }
local WITH_REASON = s.object({ reason = REASON }, { required = { "reason" } })

return {
  read("", { summary = "What the jobs workers have to do, by type of event",
    returns = { [200] = s.object({ data = s.array(s.any {}) }) }, handler = overview }),
  read("/dead", { summary = "Events that were given up", page = true, query = BY_TYPE,
    returns = LIST, handler = lister("dead") }),
  read("/discarded", { summary = "Events that staff let go, until they are cleaned away",
    page = true, query = BY_TYPE, returns = LIST, handler = lister("discarded") }),
  read("/schedules", { summary = "Jobs that come again and again, and how their last run went",
    returns = { [200] = s.object({ data = s.array(s.any {}) }) }, handler = list_schedules }),
  read("/{id}", { summary = "An event of the outbox", params = ID,
    returns = { [200] = shapes.one("event", s.any {}) }, handler = get }),

  write("/replay", { summary = "Deliver all dead events of a type again, 1,000 at a time",
    body = s.object(BY_TYPE, { required = { "type" } }), handler = replay_all }),
  write("/discard", { summary = "Let go of all dead events of a type, 1,000 at a time",
    body = s.object({ type = TYPE, reason = REASON }, { required = { "type", "reason" } }),
    handler = discard_all }),
  write("/{id}/replay", { summary = "Deliver a dead event again", params = ID, handler = replay }),
  write("/{id}/discard", { summary = "Let go of a dead event", params = ID, body = WITH_REASON,
    handler = discard }),
  write("/schedules/{name}/run", { summary = "Run it now, besides its schedule", params = NAME,
    handler = run, errors = { "conflict" } }),
  write("/schedules/{name}/pause", { summary = "Do not run it until it is resumed", params = NAME,
    handler = pause }),
  write("/schedules/{name}/resume", { summary = "Run it by its schedule again", params = NAME,
    handler = resume }),
}
