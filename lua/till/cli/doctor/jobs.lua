-- till/cli/doctor/jobs - is what happens behind the shoppers' backs done, and in time?
local backlog = require "till.store.backlog"
local schedules = require "till.store.schedules"

local LATE_S = 60


local function late(report, event_type, numbers)
  local reason = backlog.late_reason(event_type)
  report.warn("jobs.late", ("%s: %d wait, the oldest for %d s%s"):format(event_type,
    numbers.pending, numbers.oldest_s, reason and ": " .. reason or ""), reason
    and "When its cause is mended they are delivered by themselves."
    or "Do jobs workers run (server.jobs_workers)? Is there too much for them?")
end


local function outbox(report)
  local types = backlog.outbox()
  if not types then return end -- the database's own checks have said why
  local seen = false
  for event_type, numbers in pairs(types) do
    if numbers.oldest_s > LATE_S then
      seen = true
      late(report, event_type, numbers)
    end
    if numbers.dead > 0 then
      seen = true
      report.warn("jobs.dead", ("%s: %d were given up"):format(event_type, numbers.dead),
        "`moontill jobs dead` says why; then `moontill jobs replay` or `discard`.")
    end
  end
  if not seen then report.ok("jobs", "events are delivered, none was given up") end
end


local function failing(report)
  for _, row in ipairs(schedules.list() or {}) do
    if row.state == "failed" then
      report.warn("jobs.schedule", ("%s failed: %s"):format(row.name, row.last_error or "?"),
        "`moontill jobs schedules` lists them.")
    end
  end
end


return { outbox, failing }
