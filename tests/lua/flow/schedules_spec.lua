local t = require "till.test"
local json = require "till.prim.json"
local live = require "tests.support.live"

local MINUTE = 60000


-- A shop whose plugin `sync` has a job every 15 minutes, or those of `times`; `ran` are its runs.
local function with_job(fn, times)
  return live.test(function(shop)
    local dispatch = shop.require "till.plugin.dispatch"
    local job = { ran = {} }
    local plugins = dispatch.plugins()
    dispatch.setup { { name = "sync", hooks = { "job.run" }, config = {}, waits = false,
      schedules = times or { pull = "every 15 minutes" },
      handlers = { ["job.run"] = function(_, event)
        job.ran[#job.ran + 1] = event
        if job.fails then error("the provider is away") end
        return true
      end } } }
    local schedules = shop.require "till.flow.schedules"
    assert(schedules.declare())
    local good, why = pcall(fn, shop, schedules, job)
    dispatch.setup(plugins)
    if not good then error(why, 0) end
  end)
end


local function work(shop)
  local claim, batch = shop.require "till.flow.job_claim", shop.require "till.flow.job_batch"
  for _ = 1, 10 do
    local taking = assert(claim.take())
    batch.deliver(taking)
    if #taking.events == 0 then return end
  end
end


local function row(shop)
  return assert(shop.require("till.store.schedules").get("sync:pull"))
end


local function runs(shop, where)
  return shop.sql.one("SELECT COUNT(*) AS n FROM outbox WHERE aggregate = 'schedule:sync:pull'"
    .. (where or "")).n
end


t.describe("jobs of a schedule", function()
  t.it("run when they are due, and once", with_job(function(shop, schedules, job)
    assert(schedules.tick())
    t.equal(runs(shop), 0)
    shop.clock.skip_ms = 15 * MINUTE
    assert(schedules.tick())
    assert(schedules.tick())
    t.same({ runs(shop), row(shop).state }, { 1, "queued" })
    work(shop)
    t.same({ #job.ran, job.ran[1].job, row(shop).state, row(shop).runs }, { 1, "pull", "idle", 1 })
    assert(schedules.tick())
    t.equal(runs(shop), 1)
  end))

  t.it("make up once for what was missed", with_job(function(shop, schedules, job)
    shop.clock.skip_ms = 5 * 60 * MINUTE
    assert(schedules.tick())
    work(shop)
    assert(schedules.tick())
    t.same({ #job.ran, runs(shop) }, { 1, 1 })
    shop.clock.skip_ms = shop.clock.skip_ms + 15 * MINUTE
    assert(schedules.tick())
    work(shop)
    t.equal(#job.ran, 2)
  end))

  t.it("do not pile up behind one that runs, but are made up for", with_job(
    function(shop, schedules, job)
      assert(shop.require("till.store.schedules").keep_only { "sync:pull" })
      shop.clock.skip_ms = 15 * MINUTE
      assert(schedules.tick())
      local taking = shop.require("till.flow.job_claim").take()
      t.equal(#taking.events, 1)
      shop.clock.skip_ms = 50 * MINUTE
      assert(schedules.tick())
      t.equal(runs(shop), 1)
      t.same(shop.require("till.flow.job_claim").take().events, {}, "two at once")
      shop.require("till.flow.job_batch").deliver(taking)
      assert(schedules.tick())
      t.equal(runs(shop), 2)
      work(shop)
      t.equal(#job.ran, 2)
    end))

  t.it("are not repeated by a clock that steps back", with_job(function(shop, schedules, job)
    shop.clock.skip_ms = 15 * MINUTE
    assert(schedules.tick())
    work(shop)
    shop.clock.skip_ms = 0
    assert(schedules.declare())
    assert(schedules.tick())
    work(shop)
    t.equal(#job.ran, 1)
    shop.clock.skip_ms = 10 * MINUTE
    assert(schedules.tick())
    work(shop)
    t.equal(#job.ran, 1)
  end))

  t.it("come back from a clock that was a year ahead", with_job(function(shop, schedules, job)
    shop.sql.exec("UPDATE job_schedules SET next_at = NOW(3) + INTERVAL 1 YEAR")
    assert(schedules.declare())
    shop.clock.skip_ms = 15 * MINUTE
    assert(schedules.tick())
    work(shop)
    t.equal(#job.ran, 1)
  end))

  t.it("that fail say why, come again, and are well when they are well", with_job(
    function(shop, schedules, job)
      job.fails = true
      shop.clock.skip_ms = 15 * MINUTE
      assert(schedules.tick())
      work(shop)
      local seen = row(shop)
      t.same({ seen.state, seen.failures }, { "failed", 1 })
      t.ok(seen.last_error:find("sync", 1, true), seen.last_error)
      t.equal(runs(shop, " AND state = 'pending'"), 1)
      job.fails = false
      shop.sql.exec("UPDATE outbox SET available_at = NOW(3)")
      work(shop)
      seen = row(shop)
      t.same({ seen.state, seen.last_error, #job.ran }, { "idle", nil, 2 })
    end))

  t.it("are seen, paused, resumed and run by staff", with_job(function(shop, schedules, job)
    local at = "/admin/v1/jobs/schedules"
    local status, body = shop.admin("GET", at)
    local by_name = {}
    for _, each in ipairs(body.data) do by_name[each.name] = each end
    t.equal(status, 200)
    t.equal(by_name["sync:pull"].schedule, "every 15 minutes")
    t.ok(by_name["server:purge"])
    status, body = shop.admin("POST", at .. "/sync:pull/pause", {})
    t.equal(status, 202)
    t.ok(body.schedule.paused_by)
    shop.clock.skip_ms = 15 * MINUTE
    assert(schedules.tick())
    t.equal(runs(shop), 0)
    t.equal((shop.admin("POST", at .. "/sync:pull/run", {})), 202)
    t.equal((shop.admin("POST", at .. "/sync:pull/run", {})), 409)
    work(shop)
    t.equal(#job.ran, 1)
    t.equal((shop.admin("POST", at .. "/sync:pull/resume", {})), 202)
    assert(schedules.tick())
    t.equal(runs(shop, " AND state = 'pending'"), 1)
    t.equal((shop.admin("POST", at .. "/sync:push/run", {})), 404)
    t.equal((shop.admin("POST", at .. "/nothing/run", {})), 404)
    t.equal(shop.sql.one("SELECT COUNT(*) AS n FROM audit_entries"
      .. " WHERE subject = 'schedule:sync:pull'").n, 3)
  end))

  t.it("that nobody declares any more are gone, and begin anew", with_job(
    function(shop, schedules)
      local store = shop.require "till.store.schedules"
      assert(store.keep_only {})
      t.equal(store.get("sync:pull"), false)
      shop.clock.skip_ms = 60 * MINUTE
      assert(schedules.tick())
      t.equal(runs(shop), 0)
      assert(schedules.declare())
      assert(schedules.tick())
      t.equal(runs(shop), 0)
    end))
end)


local function many()
  local times = { pull = "every 15 minutes" }
  for i = 1, 60 do times["job" .. i] = "every minute" end
  return times
end


t.describe("more schedules than a tick begins", function()
  t.it("are all come to, also behind those whose last run still waits", with_job(
    function(shop, schedules)
      local function begun()
        return shop.sql.one("SELECT COUNT(*) AS n FROM outbox"
          .. " WHERE aggregate LIKE 'schedule:sync:job%'").n
      end
      shop.sql.exec("UPDATE job_schedules SET paused_by = 'spec' WHERE name LIKE 'server:%'")
      shop.sql.exec("UPDATE job_schedules SET next_at = NOW(3) + INTERVAL 10 MINUTE"
        .. " WHERE name = 'sync:pull'")
      shop.clock.skip_ms = MINUTE
      assert(schedules.tick())
      t.equal(begun(), 50)
      assert(schedules.tick())
      t.equal(begun(), 60)
      shop.clock.skip_ms = 15 * MINUTE
      assert(schedules.tick())
      t.same({ begun(), runs(shop) }, { 60, 1 })
    end, many()))

  t.it("are come to behind those that this generation has not", with_job(
    function(shop, schedules)
      for i = 1, 60 do
        assert(shop.require("till.store.schedules").put("other:job" .. i, "every minute", 0, 1000))
      end
      shop.clock.skip_ms = 15 * MINUTE
      assert(schedules.tick())
      t.equal(runs(shop), 1)
    end))
end)


t.describe("a run that was given up and is replayed", function()
  t.it("waits for the one that is at work", with_job(function(shop, schedules, job)
    local claim, batch = shop.require "till.flow.job_claim", shop.require "till.flow.job_batch"
    local event = { schedule = "sync:pull", plugin = "sync", job = "pull" }
    local old = assert(shop.sql.exec("INSERT INTO outbox (aggregate, type, payload, state,"
      .. " attempts, last_error) VALUES ('schedule:sync:pull', 'job.run', ?, 'dead', 5, 'away')",
      json.encode(event))).insert_id
    shop.clock.skip_ms = 15 * MINUTE
    assert(shop.require("till.store.schedules").keep_only { "sync:pull" })
    assert(schedules.tick())
    local next_run = assert(claim.take())
    t.equal(#next_run.events, 1)
    t.equal((shop.admin("POST", ("/admin/v1/jobs/%d/replay"):format(old), {})), 202)
    shop.sql.exec("UPDATE outbox SET available_at = NOW(3) WHERE id = ?", old)
    t.equal(#assert(claim.take()).events, 0)
    batch.deliver(next_run)
    local replayed = assert(claim.take())
    t.same({ #replayed.events, tonumber(replayed.events[1].id) }, { 1, tonumber(old) })
    t.equal(replayed.events[1].is_taken_over, false)
    batch.deliver(replayed)
    t.equal(#job.ran, 2)
  end))
end)


t.describe("a job that a plugin puts off", function()
  t.it("is done when its time has come, by its own hook", with_job(function(shop, _, job)
    local later = shop.require("till.plugin.guards").module(
      { manifest = { name = "sync", capabilities = {} } }, "till.prim.job")
    t.ok(later.enqueue("resize", { image = "a.png" }, { delay_ms = 60000 }))
    t.ok(later.enqueue("resize", { image = "b.png" }, { key = "images" }))
    t.ok(later.enqueue("resize", { image = "c.png" }, { key = "images", plugin = "other" }))
    work(shop)
    local seen = {}
    for i, event in ipairs(job.ran) do seen[i] = event.job .. " " .. event.payload.image end
    t.same(seen, { "resize b.png", "resize c.png" })
    shop.sql.exec("UPDATE outbox SET available_at = NOW(3) WHERE state = 'pending'")
    work(shop)
    t.equal(job.ran[3].payload.image, "a.png")
    t.throws(function() later.enqueue("", {}) end, "a name")
    t.throws(function() later.enqueue("x", {}, { key = "a b" }) end, "the key of a job")
  end))
end)
